#!/usr/bin/env bash
# Export, import, merge and verify of a model of 8 GB under a memory limit of 2 GB (cgroup; needs root and 40 GB of disk).
#   scripts/bench_memory.sh [--bytes N] [--limit N] [--folder DIR] [--ranks N]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
python3 scripts/bench/bounded_memory.py "${PHALANX:-$ROOT/build/release/phalanx}" "$@"
