#!/usr/bin/env bash
# Compares this build with the field's reference implementations, live. They are Python packages in a virtual
# environment of their own (third_party/oracles); the program never needs them.
#   scripts/oracles.sh [check...]     all checks, or those named: tokenizer tokenizers tokenizer_train template score train preference ppo export families quantise gguf tensorboard checkpoint files adapters
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
PHALANX=${PHALANX:-$ROOT/build/release/phalanx}
ORACLES=${PHALANX_ORACLES:-$THIRD_PARTY/oracles}
MODEL=$ROOT/models/SmolLM2-135M-Instruct.Q4_1.gguf
CHECKS=("$@")
[ "${#CHECKS[@]}" -gt 0 ] || CHECKS=(tokenizer tokenizers tokenizer_train template score train preference ppo export families quantise gguf tensorboard checkpoint files adapters)

install_oracles() {
  if [ -x "$ORACLES/bin/python" ]; then echo "$ORACLES is there"; return; fi
  python3 -m venv "$ORACLES"
  "$ORACLES/bin/pip" install -q --disable-pip-version-check -r scripts/oracles/requirements.txt
}

# TRL 1.16 no longer has a PPOTrainer.
install_ppo_oracle() {
  if [ -d "$ORACLES/trl-with-ppo/trl" ]; then echo "$ORACLES/trl-with-ppo is there"; return; fi
  "$ORACLES/bin/pip" install -q --disable-pip-version-check --no-deps --target "$ORACLES/trl-with-ppo" trl==1.9.2
}

run_check() { HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 TQDM_DISABLE=1 OMP_WAIT_POLICY=passive PYTHONWARNINGS=ignore TOKENIZERS_PARALLELISM=false "$ORACLES/bin/python" "scripts/oracles/$1_check.py" "$PHALANX" "$MODEL"; }

step "oracles" install_oracles
step "an older TRL with PPO" install_ppo_oracle
for check in "${CHECKS[@]}"; do step "check: $check" run_check "$check"; done
