#!/usr/bin/env bash
# Installs what the build needs on Debian 12: packages by apt, LibTorch as the unpacked PyPI wheel in third_party/.
# Does nothing where all of it is there already. Needs root or sudo for the packages.
#   scripts/bootstrap.sh [preset]    for the preset `fuzz` also clang
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

TORCH_VERSION=2.11.0
PACKAGES=(g++ cmake ninja-build git ccache mold pkg-config ca-certificates python3 python3-pip python3-venv unzip
  libopenmpi-dev openmpi-bin libhdf5-dev hdf5-tools libcli11-dev libyaml-cpp-dev nlohmann-json3-dev libsimdjson-dev
  libfmt-dev libspdlog-dev libpcre2-dev libutf8proc-dev libxxhash-dev libzstd-dev zlib1g-dev
  libgtest-dev librapidcheck-dev libbenchmark-dev wordnet-base strace)

if [ "${1:-}" = fuzz ]; then PACKAGES+=(clang libclang-rt-14-dev llvm-14); fi

missing_packages() {
  local package
  for package in "${PACKAGES[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
  done
}

install_packages() {
  local missing
  mapfile -t missing < <(missing_packages)
  if [ "${#missing[@]}" = 0 ]; then echo "all ${#PACKAGES[@]} Debian packages are installed"; return; fi
  echo "installing: ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# A wheel is a zip file; nothing of Python is needed at run time. The CPU library of the wheel wants libcudart and
# libcupti beside it on every machine, with or without a GPU.
unpack_libtorch() {
  if [ -f "$THIRD_PARTY/libtorch/version-$TORCH_VERSION" ]; then echo "LibTorch $TORCH_VERSION is in $THIRD_PARTY/libtorch"; return; fi
  local wheels=$THIRD_PARTY/wheels
  mkdir -p "$wheels"
  python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.11 \
    --implementation cp --abi cp311 --platform manylinux_2_28_x86_64 -d "$wheels" "torch==$TORCH_VERSION"
  python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: -d "$wheels" \
    'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-cupti==13.0.*'
  rm -rf "$THIRD_PARTY/unpacked" "$THIRD_PARTY/libtorch" "$THIRD_PARTY/nvidia"
  unzip -q -o "$wheels"/torch-*.whl 'torch/lib/*' 'torch/include/*' -d "$THIRD_PARTY/unpacked"
  unzip -q -o "$wheels"/nvidia_cuda_runtime-*.whl 'nvidia/*/lib/*.so*' -d "$THIRD_PARTY/unpacked"
  unzip -q -o "$wheels"/nvidia_cuda_cupti-*.whl 'nvidia/*/lib/*.so*' -d "$THIRD_PARTY/unpacked"
  rm -rf "$THIRD_PARTY/unpacked/torch/include/fmt"  # the wheel's copy would hide Debian's, which spdlog is built with
  mv "$THIRD_PARTY/unpacked/torch" "$THIRD_PARTY/libtorch"
  mv "$THIRD_PARTY/unpacked/nvidia" "$THIRD_PARTY/nvidia"
  rm -rf "$THIRD_PARTY/unpacked" "$wheels"
  touch "$THIRD_PARTY/libtorch/version-$TORCH_VERSION"
}

step "Debian packages" install_packages
step "LibTorch $TORCH_VERSION" unpack_libtorch
