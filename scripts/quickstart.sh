#!/usr/bin/env bash
# From a bare Debian 12 to a fine-tuned, exported and verified model: installs, builds, fetches SmolLM2-135M-Instruct and
# WordNet, LoRA-tunes the model on WordNet's definitions over two MPI ranks, shows what changed, exports and verifies.
#   scripts/quickstart.sh            a second run starts training within seconds
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PHALANX=build/release/phalanx
MODEL=models/SmolLM2-135M-Instruct.Q4_1.gguf
RUN=runs/wordnet-lora
QUESTIONS=('Define the noun "lighthouse".' 'Define the verb "whisper".' 'Define the adjective "fragile".')

ask() {
  local question
  for question in "${QUESTIONS[@]}"; do
    python3 -c 'import json, sys; print(json.dumps({"messages": [{"role": "user", "content": sys.argv[1]}]}))' "$question"
  done | "$PHALANX" generate "$1" --max-new-tokens 60 --temperature 0 2>/dev/null |
    python3 -c 'import json, sys
for question, line in zip(sys.argv[1:], sys.stdin):
    answer = json.loads(line)["text"].strip()
    print(f"  {question}\n    -> {answer[:300]}")' "${QUESTIONS[@]}"
}

train() {
  rm -rf "$RUN"
  "$PHALANX" train configs/wordnet_lora.yaml
}

show_losses() {
  python3 - "$RUN/metrics.jsonl" <<'P'
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
evals = [row for row in rows if "eval_loss" in row]
first, last = evals[0]["eval_loss"], evals[-1]["eval_loss"]
print(f"  held-out loss: {first:.4f} before, {last:.4f} after {evals[-1]['step']} steps: {100 * (first - last) / first:.1f} % lower")
P
}

export_hf() { rm -rf "$RUN/merged"; "$PHALANX" merge "$MODEL" "$RUN/final" "$RUN/merged" --outtype bf16; }
export_gguf() { rm -f "$RUN/merged-q8_0.gguf"; "$PHALANX" export "$RUN/merged" "$RUN/merged-q8_0.gguf" --to gguf --outtype q8_0; }

bash scripts/build.sh release phalanx
bash scripts/fetch_example.sh
step "three answers before" ask "$MODEL"
step "fine-tuning over 2 MPI ranks" train
step "held-out loss" show_losses
step "three answers after" ask "$RUN/final"
step "export: Hugging Face folder (merged, verified)" export_hf
step "export: GGUF Q8_0 (verified)" export_gguf
step "verify: folder against GGUF" "$PHALANX" verify export "$RUN/merged" "$RUN/merged-q8_0.gguf"

say "where everything lies"
printf '  %-46s %s\n' "$RUN/" "the run: config.resolved.yaml, metrics.jsonl, TensorBoard files, checkpoints/" \
  "$RUN/final/" "the adapter, in PEFT's format" "$RUN/merged/" "the merged model, a Hugging Face folder" \
  "$RUN/merged-q8_0.gguf" "the merged model for llama.cpp"
say "quickstart: $(elapsed "$SCRIPT_START") in all"
