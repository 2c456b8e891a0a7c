#!/usr/bin/env bash
# Configures and builds one preset (default: release) with everything it needs installed first.
#   scripts/build.sh [release|asan|cuda] [target...]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
PRESET=${1:-release}
shift || true

configure() { cmake --preset "$PRESET" >"build-$PRESET.log" 2>&1 || { cat "build-$PRESET.log"; exit 1; }; rm -f "build-$PRESET.log"; }
build() { cmake --build "build/$PRESET" --parallel "$JOBS" ${*:+--target "$@"} | grep -E 'error|FAILED|warning:|^ninja' || true; test "${PIPESTATUS[0]}" = 0; }

bash scripts/bootstrap.sh
if [ "$PRESET" = cuda ]; then bash scripts/cuda_wheels.sh; fi
step "configure ($PRESET)" configure
step "build ($PRESET)" build "$@"
