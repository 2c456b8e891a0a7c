# Everything the program links. Debian packages by pkg-config or their own CMake files; LibTorch is the unpacked PyPI
# wheel that scripts/bootstrap.sh leaves in third_party/libtorch (with libcudart and libcupti beside it in
# third_party/nvidia, which libtorch_cpu.so needs even where there is no GPU).
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(simdjson REQUIRED)
find_package(ZLIB REQUIRED)
find_package(GTest REQUIRED)
find_package(benchmark REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(HDF5 REQUIRED IMPORTED_TARGET hdf5-serial)  # serial on purpose: docs/architecture.md, "Checkpoints"
find_package(MPI REQUIRED COMPONENTS C)

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      ${CCACHE_PROGRAM})
endif()
find_program(MOLD_PROGRAM mold)
if(MOLD_PROGRAM)
  add_link_options(-fuse-ld=mold)
endif()

set(torch_lib "${PHALANX_THIRD_PARTY}/libtorch/lib")
if(NOT EXISTS "${torch_lib}/libtorch_cpu.so")
  message(FATAL_ERROR "LibTorch is not in ${PHALANX_THIRD_PARTY}/libtorch. Run scripts/bootstrap.sh first.")
endif()
add_library(libtorch INTERFACE)
target_include_directories(libtorch SYSTEM INTERFACE
  "${PHALANX_THIRD_PARTY}/libtorch/include" "${PHALANX_THIRD_PARTY}/libtorch/include/torch/csrc/api/include")
target_link_libraries(libtorch INTERFACE "${torch_lib}/libtorch_cpu.so" "${torch_lib}/libc10.so" OpenMP::OpenMP_CXX)
# DT_RPATH, not RUNPATH: libtorch_cpu.so finds libcudart.so.13 beside it through its own entry, ours covers the tests.
target_link_options(libtorch INTERFACE
  "LINKER:-rpath,${torch_lib}" "LINKER:-rpath-link,${PHALANX_THIRD_PARTY}/nvidia/cu13/lib")
if(MOLD_PROGRAM)
  target_link_options(libtorch INTERFACE "LINKER:--allow-shlib-undefined")
endif()

# ASan and UBSan for our own code; LibTorch stays as it is, so what it does with its own memory is not seen. Their defaults
# and suppressions are in sanitizer_options.cpp, which phx_core carries into every program.
if(PHALANX_SANITIZE)
  # -Wmaybe-uninitialized of GCC 12 is wrong about <regex> and std::optional once sanitizers are on (GCC bug 105562).
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
                      -D_GLIBCXX_ASSERTIONS)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-Wno-maybe-uninitialized)
  endif()
  add_link_options(-fsanitize=address,undefined)
endif()
# Every program is instrumented, so that libFuzzer sees which branches an input reaches; only its targets have its main().
if(PHALANX_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

include(cmake/arrow.cmake)
if(PHALANX_CUDA)
  include(cmake/cuda.cmake)
endif()
