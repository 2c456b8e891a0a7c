#!/usr/bin/env bash
# Log-probabilities of rollouts against those of a training step, SmolLM2-135M on one rank and on every kind of two:
# fp32 and bf16, with rollout.batch_invariant and without. Fails where a bound is broken.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
MODEL=models/SmolLM2-135M-Instruct.Q4_1.gguf
PROMPTS='{"messages": [{"role": "user", "content": "What is a river?"}]}
{"messages": [{"role": "user", "content": "Write two sentences about the sea, then count from one to ten."}]}
{"prompt": "The three largest cities of Europe are"}'
failed=0
check() {  # bound on which figure, mesh, settings
  local row
  row=$(build/release/phalanx verify rollouts $MODEL --num-samples 4 --max-new-tokens 48 --temperature 1 "${@:3}" <<< "$PROMPTS" 2> /tmp/rollouts_check.err) ||
    { cat /tmp/rollouts_check.err; failed=1; return; }
  echo "${*:3} -> $row"
  python3 - "$1" "$2" "$row" << 'PY' || { echo "broken: $1 at most $2"; failed=1; }
import json, sys
figure, bound, row = sys.argv[1], float(sys.argv[2]), json.loads(sys.argv[3])
sys.exit(row[figure] > bound or row["num_tokens"] == 0)
PY
}
for mesh in dp=1 dp=2 pp=2 "dp=2 --set parallel.zero_stage=3" "tp=2 --set parallel.allow_uneven=true"; do
  for precision in fp32 bf16; do
    # shellcheck disable=SC2206  # a mesh may be several words
    common=(--set parallel.$mesh --set train.precision=$precision)
    if [[ "$mesh" != tp=2* ]]; then check largest_difference 0 "${common[@]}" --set rollout.batch_invariant=true; fi
    if [ $precision = fp32 ]; then
      check largest_difference 1e-5 "${common[@]}"
    else
      check mean_kl 1e-4 "${common[@]}"
    fi
  done
done
exit $failed
