#!/usr/bin/env bash
# Lays out every C++ file as .clang-format says (clang-format 14, as in Debian 12).
#   scripts/format.sh            rewrites files
#   scripts/format.sh --check    only lists those that differ; exit 1 if there are any, 77 without clang-format 14
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
CLANG_FORMAT=$(command -v clang-format-14 || command -v clang-format || true)
if [ -z "$CLANG_FORMAT" ] || ! "$CLANG_FORMAT" --version | grep -q 'version 14'; then
  echo "not run: clang-format 14 is not installed"
  exit 77
fi
mapfile -t files < <(find src tests bench cmake -name '*.cpp' -o -name '*.h' -o -name '*.inc' | grep -v pre_tokenizer_tables.cpp)
if [ "${1:-}" = --check ]; then "$CLANG_FORMAT" --dry-run --Werror "${files[@]}"; else "$CLANG_FORMAT" -i "${files[@]}"; fi
