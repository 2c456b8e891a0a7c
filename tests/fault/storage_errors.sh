#!/bin/bash
# A disk that says no at every file-system call of a checkpoint (robustness: F14, F15): EIO and ENOSPC, once and from that
# call on. The run must neither hang nor crash: it goes on and saves the next step, or ends with 74; nothing committed is lost.
. "$(dirname "$0")/common.sh"
command -v strace >/dev/null || skip "no strace"
strace -o /dev/null true 2>/dev/null || skip "strace may not trace here"
make_template
count_calls "openat ftruncate fallocate pwrite64 fsync rename renameat2 unlinkat mkdir" >"$work/places"
place=0
while read -r path call count; do
  for ((n = 1; n <= count; n++)); do
    for error in EIO ENOSPC; do
      for repeat in "" "+"; do
        place=$((place + 1))
        [ $((place % every)) -eq $((offset % every)) ] || continue
        reset_run
        timeout 30 strace -f -o /dev/null -P "$path" -e "trace=$call" -e "inject=$call:error=$error:when=$n$repeat" \
          "$program" "$checkpoints" 50 >"$work/out" 2>"$work/err"
        rc=$?
        announced=$(last_number committed "$work/out")
        name="$call $n$repeat ${path#"$work"/run/}"
        if [ $rc -ne 0 ] && [ $rc -ne 74 ]; then
          report 1 "$error" "$name" "exit $rc: $(tail -1 "$work/err")"
        elif [ $rc -eq 0 ] && [ "${announced:-0}" -ne 50 ]; then
          report 1 "$error" "$name" "ended with 0 but saved only ${announced:-nothing}"
        elif check_next_life "${announced:-20}"; then
          report 0 "$error" "$name" "exit $rc, announced ${announced:-20}, $(grep -c '^missed' "$work/out") missed"
        else
          report 1 "$error" "$name" "$reason"
        fi
      done
    done
  done
done <"$work/places"
finish "$place"
