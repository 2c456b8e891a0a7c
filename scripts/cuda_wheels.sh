#!/usr/bin/env bash
# Fetches from NVIDIA's wheels what libtorch_cuda.so needs and the CUDA toolkit of nvcc does not have, into
# third_party/nvidia. Only for the `cuda` preset; nothing of it is needed to build or run the `release` preset.
#   scripts/cuda_wheels.sh         what is missing
#   scripts/cuda_wheels.sh --all   everything, for a toolkit with other versions
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
ALL=${1:-}

# Library, wheel of the version that torch 2.11.0 asks for.
WANTED=(
  "libcublas.so.13 nvidia-cublas==13.1.0.3"
  "libcufft.so.12 nvidia-cufft==12.0.0.61"
  "libcurand.so.10 nvidia-curand==10.4.0.35"
  "libcusparse.so.12 nvidia-cusparse==12.6.3.3"
  "libnvJitLink.so.13 nvidia-nvjitlink==13.0.88"
  "libcudnn.so.9 nvidia-cudnn-cu13==9.19.0.56"
  "libnccl.so.2 nvidia-nccl-cu13==2.28.9"
  "nccl.h nvidia-nccl-cu13==2.28.9"
  "libcusparseLt.so.0 nvidia-cusparselt-cu13==0.8.0"
  "libnvshmem_host.so.3 nvidia-nvshmem-cu13==3.4.5"
  "libcufile.so.0 nvidia-cufile==1.15.1.6"
)

toolkit() { dirname "$(dirname "$(readlink -f "$(command -v nvcc)")")"; }

present() {
  compgen -G "$THIRD_PARTY/nvidia/*/lib/$1" >/dev/null || compgen -G "$THIRD_PARTY/nvidia/*/include/$1" >/dev/null ||
    { [ "$ALL" != --all ] && { [ -e "$(toolkit)/lib64/$1" ] || [ -e "$(toolkit)/include/$1" ]; }; }
}

fetch() {
  local wheels=$THIRD_PARTY/cuda_wheels
  rm -rf "$wheels"
  mkdir -p "$wheels" "$THIRD_PARTY/nvidia"
  python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: -d "$wheels" "$@"
  local wheel
  for wheel in "$wheels"/*.whl; do
    unzip -q -o "$wheel" 'nvidia/*/lib/*.so*' 'nvidia/*/include/*' -d "$THIRD_PARTY" 2>/dev/null || [ $? = 11 ]
  done
  rm -rf "$wheels"
}

missing=()
for entry in "${WANTED[@]}"; do
  read -r file wheel <<<"$entry"
  present "$file" || missing+=("$wheel")
done
if [ "${#missing[@]}" = 0 ]; then echo "the toolkit in $(toolkit) and third_party/nvidia have all CUDA libraries"; exit 0; fi
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
step "wheels of NVIDIA: ${missing[*]}" fetch "${missing[@]}"
