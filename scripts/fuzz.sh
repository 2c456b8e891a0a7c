#!/usr/bin/env bash
# Builds the parsers with clang and libFuzzer (preset `fuzz`: AddressSanitizer, UndefinedBehaviorSanitizer) and throws changed inputs at
# them. What ends a target, takes more than 10 s or too much memory is made small and added to its corpus: commit it with the fix.
#   scripts/fuzz.sh [seconds] [target...]    default: 60 s each, all of tests/fuzz/*_fuzz.cpp, two at a time; FUZZ_SEED for other inputs
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
SECONDS_EACH=${1:-60}
shift || true
BUILD=$ROOT/build/fuzz
WORK=$BUILD/work
TARGETS=("$@")
if [ "${#TARGETS[@]}" = 0 ]; then
  for source in tests/fuzz/*_fuzz.cpp; do TARGETS+=("$(basename "$source" _fuzz.cpp)"); done
fi

# One target: what it finds is kept in its working corpus, so that the next run goes on from there.
fuzz_one() {
  local name=$1 corpus=tests/fuzz/corpus/$1 found dictionary=tests/fuzz/dictionaries/$1.dict status=0
  local work=$WORK/$name log=$WORK/$name.log
  mkdir -p "$work" "$WORK/found-$name" "$corpus"
  rm -f "$WORK/found-$name"/*
  local limits=(-timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=512 -max_len=65536 "-seed=${FUZZ_SEED:-1}")
  [ -e "$dictionary" ] && limits+=("-dict=$dictionary")
  "$BUILD/tests/fuzz/${name}_fuzz" "${limits[@]}" -max_total_time="$SECONDS_EACH" -print_final_stats=1 \
    -artifact_prefix="$WORK/found-$name/" "$work" "$corpus" >"$log" 2>&1 || status=$?
  local runs
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  if [ "$status" = 0 ]; then printf '%-18s ok, %s runs\n' "$name" "$runs"; return; fi
  printf '%-18s FAILED after %s runs:\n' "$name" "$runs"
  grep -E 'promise broken|SUMMARY|runtime error|ERROR: libFuzzer' "$log" | head -n 4 | sed 's/^/    /'
  for found in "$WORK/found-$name"/*; do
    [ -e "$found" ] || continue
    local small=$corpus/found-$(sha1sum "$found" | cut -c1-12)
    cp "$found" "$small"
    if [[ $(basename "$found") == crash-* ]]; then
      "$BUILD/tests/fuzz/${name}_fuzz" "${limits[@]}" -minimize_crash=1 -max_total_time=20 -exact_artifact_path="$small" "$found" \
        >>"$log" 2>&1 || true
    fi
    printf '    kept as %s (log: %s)\n' "$small" "$log"
  done
  return 1
}
export -f fuzz_one
export BUILD WORK SECONDS_EACH

[ -n "${PHALANX_SKIP_BUILD:-}" ] || bash scripts/build.sh fuzz fuzz_targets
say "fuzzing ${#TARGETS[@]} targets, $SECONDS_EACH s each"
printf '%s\n' "${TARGETS[@]}" | xargs -P "${FUZZ_JOBS:-2}" -I{} bash -c 'fuzz_one {}'
