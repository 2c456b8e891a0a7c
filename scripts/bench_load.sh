#!/usr/bin/env bash
# Loading a model from safetensors against `cat FILE > /dev/null`, warm and cold, interleaved: medians and their ratio. 0.8
# is the least that is wanted.
#   scripts/bench_load.sh [--rounds N]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
ROUNDS=9
[ "${1:-}" = --rounds ] && ROUNDS=$2
"$ROOT/build/release/bench/model_bench" --benchmark_enable_random_interleaving=true --benchmark_repetitions="$ROUNDS" \
  --benchmark_report_aggregates_only=true --benchmark_format=json |
  python3 -c '
import json, sys
rows = {r["run_name"].split("/real_time")[0]: r["bytes_per_second"] for r in json.load(sys.stdin)["benchmarks"]
        if r["aggregate_name"] == "median"}
for name, speed in rows.items():
    cat = rows["cat/cold" if "cold" in name else "cat/warm"]
    print(f"{name:16} {speed / 1e9:6.2f} GB/s   {speed / cat:5.2f} x cat")
'
