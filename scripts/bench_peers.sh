#!/usr/bin/env bash
# Speed and memory against the peers on this machine, both sides in one run, interleaved (A B A B ...). Writes
# docs/benchmarks.md and the raw samples, docs/benchmarks/samples.jsonl. Half an hour on a quiet machine.
#   scripts/bench_peers.sh [--quick] [--rounds N] [--steps N] [--only full,lora,decode,ranks]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
ORACLES=${PHALANX_ORACLES:-$THIRD_PARTY/oracles}
if [ ! -x "$ORACLES/bin/python" ]; then
  python3 -m venv "$ORACLES"
  "$ORACLES/bin/pip" install -q --disable-pip-version-check -r scripts/oracles/requirements.txt
fi
HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false "$ORACLES/bin/python" scripts/bench/peers.py "$@"
