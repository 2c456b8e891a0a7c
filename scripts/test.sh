#!/usr/bin/env bash
# Sets up what is missing, builds and runs every test; the last lines are ctest's.
#   scripts/test.sh           what every change must pass
#   scripts/test.sh --full    the long sweeps too
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
FULL=${1:-}
[ "$FULL" = --full ] && export PHALANX_FULL=1

# The toolkit that torch 2.11 is built with, with its headers.
cuda_present() {
  command -v nvcc >/dev/null && [ "$(nvcc --version | sed -n 's/.*release \([0-9]*\).*/\1/p')" -ge 13 ] &&
    [ -e "$(dirname "$(dirname "$(readlink -f "$(command -v nvcc)")")")/include/cuda_runtime.h" ]
}

bash scripts/build.sh release
bash scripts/fetch_example.sh
if ! cuda_present; then
  say "no CUDA 13 toolkit here: the CUDA part was not compiled (not run: no GPU tools)"
elif ! bash scripts/cuda_wheels.sh; then
  say "the CUDA libraries that the toolkit lacks could not be fetched: the CUDA part was not compiled"
else
  bash scripts/build.sh cuda comm_nccl_tests
  ctest --test-dir build/cuda --label-regex gpu --output-on-failure --timeout 300 | tail -n 60
fi
fuzz_seconds=5
[ "$FULL" = --full ] && fuzz_seconds=60
bash scripts/fuzz.sh "$fuzz_seconds"
sanitized_tests() { ctest --test-dir build/fuzz --output-on-failure --parallel 2 --timeout 300; }
step "tests of core/, formats/ and data/ with AddressSanitizer and UndefinedBehaviorSanitizer" sanitized_tests
say "tests (set-up took $(elapsed "$SCRIPT_START"))"
ctest --test-dir build/release --output-on-failure --parallel 2 --timeout 300
