# Shared by the scripts here: where things are, and timed steps. Sourced, never run.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"
THIRD_PARTY=${PHALANX_THIRD_PARTY:-$ROOT/third_party}
JOBS=${JOBS:-$(nproc)}
SCRIPT_START=$(date +%s.%N)
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

elapsed() { awk -v a="$1" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f s", b - a }'; }
say() { printf '\n== %s\n' "$*"; }

# step "what it does" command...: says it, runs it, says how long it took.
step() {
  local title=$1 start; shift
  say "$title"
  start=$(date +%s.%N)
  "$@"
  printf -- '-- %s: %s\n' "$title" "$(elapsed "$start")"
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}
