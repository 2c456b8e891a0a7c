#!/usr/bin/env bash
# The same training on several meshes of MPI ranks on this machine: loss curves held against one rank, tokens/s against
# dp 2, interleaved. Writes docs/parallelism_benchmark.md and the raw rows (docs/benchmarks/parallel.jsonl).
#   scripts/bench_parallel.sh [--steps N] [--rounds N] [--ranks 2,4] [--config FILE]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
python3 scripts/bench/parallel.py --phalanx "${PHALANX:-$ROOT/build/release/phalanx}" "$@"
