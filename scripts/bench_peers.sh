#!/usr/bin/env bash
# Speed and memory against the peers on this machine, both sides in one run, interleaved (A B A B ...). Writes
# docs/benchmarks.md and the raw samples beside it (docs/benchmarks.jsonl).
#   scripts/bench_peers.sh [--rounds N] [--steps N]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
ORACLES=${PHALANX_ORACLES:-$THIRD_PARTY/oracles}
if [ ! -x "$ORACLES/bin/python" ]; then
  python3 -m venv "$ORACLES"
  "$ORACLES/bin/pip" install -q --disable-pip-version-check -r scripts/oracles/requirements.txt
fi
HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false "$ORACLES/bin/python" scripts/bench/peers.py "$@"
