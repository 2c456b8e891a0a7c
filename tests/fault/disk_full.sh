#!/bin/bash
# Real full disks (robustness: F14): a tmpfs of 12 sizes, and one that runs out of inodes, under a run. It must miss its
# checkpoints with a message that says how many bytes are needed and free, end with 74, and go on when room has been made.
if [ "${PHALANX_OWN_MOUNTS:-}" != 1 ]; then
  unshare -m true 2>/dev/null || { echo "skipped: no mount namespace (not root)"; exit 77; }
  PHALANX_OWN_MOUNTS=1 exec unshare -m bash "$0" "$@"
fi
. "$(dirname "$0")/common.sh"
export PHALANX_FAULT_SPARE_BYTES=0
trial() {  # NAME MOUNT-OPTIONS
  mkdir -p "$work/run"
  mount -t tmpfs -o "$2" t "$work/run" || skip "no tmpfs"
  timeout 30 "$program" "$checkpoints" 60 >"$work/out" 2>"$work/err"
  local rc=$? announced
  announced=$(last_number committed "$work/out")
  mount -o remount,size=64m,nr_inodes=10k "$work/run"  # room is made
  if [ $rc -ne 0 ] && [ $rc -ne 74 ]; then
    report 1 "full disk" "$1" "exit $rc: $(tail -1 "$work/err")"
  elif [ $rc -eq 74 ] && ! grep -q "bytes .* are needed\|No space left" "$work/err" "$work/out"; then
    report 1 "full disk" "$1" "the message does not say what is needed: $(tail -1 "$work/err")"
  elif check_next_life "${announced:-0}"; then
    report 0 "full disk" "$1" "exit $rc, announced ${announced:-0}, $(grep -c '^missed' "$work/out") missed"
  else
    report 1 "full disk" "$1" "$reason"
  fi
  umount "$work/run"
}
every=1 offset=0
for kib in 64 1024 1500 1600 2048 2800 3100 3300 4200 4600 4900 8192; do trial "$kib KiB" "size=${kib}k"; done
for inodes in 4 8 12 16; do trial "$inodes inodes" "size=64m,nr_inodes=$inodes"; done
finish 16
