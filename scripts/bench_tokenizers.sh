#!/usr/bin/env bash
# Speed of encoding on one thread against Hugging Face tokenizers and tiktoken on 50 MB of English text, interleaved (A B A B ...).
# Writes docs/benchmarks/tokenizers.md. Tokenizers other than the example model's are those that `scripts/oracles.sh tokenizers` fetches.
#   scripts/bench_tokenizers.sh [--rounds N] [--text FILE...]      FILE: text, .gz or .dz; default: Debian's wordnet-base, dict-gcide, dict-foldoc, dict-jargon
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
ORACLES=${PHALANX_ORACLES:-$THIRD_PARTY/oracles}
TOKENIZERS_PARALLELISM=false RAYON_NUM_THREADS=1 "$ORACLES/bin/python" scripts/bench/tokenizers_peer.py "$@"
