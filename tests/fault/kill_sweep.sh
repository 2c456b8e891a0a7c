#!/bin/bash
# Kills a run at every file-system call of a checkpoint (robustness: F2): SIGKILL strikes before the call has any effect.
# After each kill the next life must load the newest announced commit, or a newer one, with the right bits.
. "$(dirname "$0")/common.sh"
command -v strace >/dev/null || skip "no strace"
strace -o /dev/null true 2>/dev/null || skip "strace may not trace here"
make_template
count_calls "openat ftruncate fallocate pwrite64 write fsync fdatasync rename renameat renameat2 unlink unlinkat mkdir link" >"$work/places"
place=0
while read -r path call count; do
  for ((n = 1; n <= count; n++)); do
    place=$((place + 1))
    [ $((place % every)) -eq $((offset % every)) ] || continue
    reset_run
    timeout 30 strace -f -o /dev/null -P "$path" -e "trace=$call" -e "inject=$call:signal=SIGKILL:when=$n" \
      "$program" "$checkpoints" 30 >"$work/out" 2>"$work/err"
    rc=$?
    announced=$(last_number committed "$work/out")
    if [ $rc -ne 137 ]; then
      report 1 kill "$call $n ${path#"$work"/run/}" "was not killed: exit $rc"
    elif check_next_life "${announced:-20}"; then
      report 0 kill "$call $n ${path#"$work"/run/}" "resumed $(last_number resumed "$work/out2")"
    else
      report 1 kill "$call $n ${path#"$work"/run/}" "$reason"
    fi
  done
done <"$work/places"
finish "$place"
