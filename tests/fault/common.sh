# Shared by the fault drivers. A driver prints one JSON line per trial and ends with "N passed, N failed".
# Usage of every driver: DRIVER PROGRAM [--full] [--every N] [--offset N]   (PROGRAM: checkpoint_fault_program)
set -u
export OMP_NUM_THREADS=1
program=$1
shift
every=${PHALANX_SWEEP_EVERY:-5}
offset=${PHALANX_SWEEP_OFFSET:-$((RANDOM % every))}
while [ $# -gt 0 ]; do
  case $1 in
    --full) every=1 offset=0 ;;
    --every) every=$2 offset=$((RANDOM % every)); shift ;;
    --offset) offset=$2; shift ;;
    *) echo "unknown argument $1" >&2; exit 64 ;;
  esac
  shift
done

skip() { echo "skipped: $1"; exit 77; }

work=$(mktemp -d "${TMPDIR:-/tmp}/phalanx_fault_XXXXXX")
trap 'rm -rf "$work"' EXIT
template=$work/template
checkpoints=$work/run/checkpoints
passed=0 failed=0

# The state before each trial: a finished life (incarnation 1) that has committed steps 10 and 20.
make_template() {
  "$program" "$template" 20 >"$work/out" 2>"$work/err" || { cat "$work/out" "$work/err"; echo "the undisturbed run failed"; exit 1; }
}
reset_run() {
  rm -rf "$work/run"
  mkdir -p "$work/run"
  cp -r "$template" "$checkpoints"
}
last_number() { grep "^$1 " "$2" | tail -1 | sed 's/[^0-9]*\([0-9]*\).*/\1/'; }

# The paths that the next life (incarnation 2) touches when it saves step 30 and drops step 10.
touched_paths() {
  local partial=$checkpoints/step_30.2.partial pruned=$checkpoints/step_10.2.partial name
  echo "$work/run"
  echo "$checkpoints"
  for name in LEASE LEASE.2 step_30 step_10; do echo "$checkpoints/$name"; done
  for name in "$partial" "$pruned"; do
    echo "$name"
    printf "$name/%s\n" shard_0.h5 shard_1.h5 index.h5 MANIFEST.json
  done
}

# "PATH CALL COUNT" for each path and call of an undisturbed life; COUNT is that of the thread with the most.
count_calls() {
  local path
  touched_paths | while read -r path; do
    reset_run
    strace -f -o "$work/calls" -P "$path" -e "trace=${1// /,}" "$program" "$checkpoints" 30 >/dev/null 2>&1
    awk -v path="$path" 'match($2, /^[a-z0-9]+\(/) { call = substr($2, 1, RLENGTH - 1); n = ++count[call, $1]; if (n > most[call]) most[call] = n }
      END { for (call in most) print path, call, most[call] }' "$work/calls" | sort
  done
}

# A life after the fault: must load a commit that is not older than $1, with the right bits, and be able to save again.
check_next_life() {
  local least=$1 resumed
  timeout 30 "$program" "$checkpoints" 90 >"$work/out2" 2>"$work/err2"
  local rc=$?
  resumed=$(last_number resumed "$work/out2")
  reason=
  [ $rc -eq 0 ] || reason="the next life exits $rc: $(tail -1 "$work/err2")"
  [ -z "$reason" ] && [ "${resumed:-0}" -lt "$least" ] && reason="resumed ${resumed:-nothing} but $least was announced"
  [ -z "$reason" ] && [ "$(last_number committed "$work/out2")" != 90 ] && reason="the next life cannot save"
  [ -z "$reason" ] && ls "$checkpoints" | grep -q partial && reason="a partial folder is left behind"
  [ -z "$reason" ] && ls "$checkpoints" | grep -q rejected && reason="a committed checkpoint was found damaged"
  [ -z "$reason" ]
}

# report OK(0|1) FAULT PLACE DETAIL
report() {
  local result=true
  if [ "$1" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)) result=false; fi
  printf '{"fault": "%s", "place": "%s", "passed": %s, "detail": "%s"}\n' "$2" "$3" "$result" "$(echo "$4" | tr -d '"\\')"
}

finish() {
  echo "$passed passed, $failed failed (every ${every}th place from $offset of $1)"
  [ $failed -eq 0 ] && [ $passed -gt 0 ]
  exit $?
}
