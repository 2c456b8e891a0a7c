#!/usr/bin/env bash
# Configures and builds one preset (default: release) with everything it needs installed first.
#   scripts/build.sh [release|asan|fuzz|cuda] [target...]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
PRESET=${1:-release}
shift || true

configure() { cmake --preset "$PRESET" >"build-$PRESET.log" 2>&1 || { cat "build-$PRESET.log"; exit 1; }; rm -f "build-$PRESET.log"; }
build() {
  local status=0
  cmake --build "build/$PRESET" --parallel "$JOBS" ${*:+--target "$@"} >"build-$PRESET.log" 2>&1 || status=$?
  grep -E 'error|FAILED|warning:' "build-$PRESET.log" || true
  rm -f "build-$PRESET.log"
  return "$status"
}

bash scripts/bootstrap.sh "$PRESET"
if [ "$PRESET" = cuda ]; then bash scripts/cuda_wheels.sh; fi
step "configure ($PRESET)" configure
step "build ($PRESET)" build "$@"
