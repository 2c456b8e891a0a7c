#!/usr/bin/env bash
# Speed of rollouts against transformers' generate, interleaved (A B A B ...) in one run, what sharing a prompt
# saves, and what batch invariance costs; then a GRPO step against TRL's: SmolLM2-135M, a group of 8, 128 new tokens,
# 2 threads. Writes docs/rollouts_benchmark.md. A quarter of an hour on a quiet machine.
#   scripts/bench_rollouts.sh [--rounds N]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
ORACLES=${PHALANX_ORACLES:-$THIRD_PARTY/oracles}
if [ ! -x "$ORACLES/bin/python" ]; then
  python3 -m venv "$ORACLES"
  "$ORACLES/bin/pip" install -q --disable-pip-version-check -r scripts/oracles/requirements.txt
fi
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
"$ORACLES/bin/python" scripts/bench/rollouts.py "$@"
"$ORACLES/bin/python" scripts/bench/grpo_step.py "$@"
