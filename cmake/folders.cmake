# Parsing headers is most of the build, so it is done once per set of headers, not once per file. A set holds as little as will
# do: whatever a precompiled header leaves to be instantiated is instantiated again by every file that uses it
# (<torch/torch.h>: 8 s a file, <ATen/ATen.h>: 2 s), so more is slower than none.
# phalanx_headers(NAME LINKS target... HEADERS header...)
function(phalanx_headers name)
  cmake_parse_arguments(arg "" "" "LINKS;HEADERS" ${ARGN})
  file(WRITE "${CMAKE_BINARY_DIR}/${name}_headers.cpp" "")
  add_library(phx_${name}_headers OBJECT "${CMAKE_BINARY_DIR}/${name}_headers.cpp")
  target_link_libraries(phx_${name}_headers PUBLIC fmt::fmt ${arg_LINKS})
  target_precompile_headers(phx_${name}_headers PUBLIC ${arg_HEADERS})
endfunction()
phalanx_headers(aten LINKS libtorch HEADERS <ATen/ATen.h> <ATen/Parallel.h> <fmt/format.h>)
phalanx_headers(autograd LINKS libtorch HEADERS <ATen/ATen.h> <ATen/Parallel.h> <torch/csrc/autograd/custom_function.h>)
phalanx_headers(command LINKS libtorch HEADERS <ATen/core/Tensor.h> <CLI/CLI.hpp> <nlohmann/json.hpp> <fmt/format.h>)
phalanx_headers(tests LINKS GTest::gtest nlohmann_json::nlohmann_json HEADERS <gtest/gtest.h> <fmt/format.h> <nlohmann/json.hpp>)
target_compile_options(phx_tests_headers PRIVATE -O0)  # as the tests that use it

# Several files of a target are compiled as one: what they share of templates is then instantiated once, which halves the time
# of a build from nothing. So names in anonymous namespaces are unique in a folder. Apart stay files that are compiled
# for other instruction sets, and those of the interpreter of templates, which repeat names on purpose.
function(phalanx_unity target)
  if(PHALANX_UNITY)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
    get_target_property(sources ${target} SOURCES)
    list(FILTER sources INCLUDE REGEX "/ops/cpu/|/data/jinja_")
    set_source_files_properties(${sources} TARGET_DIRECTORY ${target} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  endif()
endfunction()

# phalanx_folder(NAME [TORCH aten|autograd|command] [USES folder...]): src/NAME/**.cpp as the object library phx_NAME; TORCH names the
# precompiled headers of a folder that knows LibTorch.
# Object libraries are linked straight into each binary, so that self-registering files are never dropped by the linker.
# USES mirrors the layer table of docs/architecture.md; tests/core/layers_test.cpp holds the includes against that table.
function(phalanx_folder name)
  cmake_parse_arguments(arg "" "TORCH" "USES" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/src/${name}/*.cpp")
  list(FILTER sources EXCLUDE REGEX "launch/main\\.cpp$")
  if(NOT PHALANX_CUDA)
    list(FILTER sources EXCLUDE REGEX "_cuda\\.cpp$|nccl[a-z_]*\\.cpp$")
  endif()
  list(FILTER sources EXCLUDE REGEX "_arrow\\.cpp$")  # a module of its own: cmake/arrow.cmake
  if(NOT sources)
    file(WRITE "${CMAKE_BINARY_DIR}/empty_${name}.cpp" "")
    set(sources "${CMAKE_BINARY_DIR}/empty_${name}.cpp")
  endif()
  set(closure ${arg_USES})  # what is used by what is used, too: binaries need its objects
  foreach(used ${arg_USES})
    get_property(deeper TARGET phx_${used} PROPERTY PHALANX_USES)
    list(APPEND closure ${deeper})
  endforeach()
  list(REMOVE_DUPLICATES closure)
  if(PHALANX_SANITIZE AND name STREQUAL "core")
    list(APPEND sources "${CMAKE_SOURCE_DIR}/cmake/sanitizer_options.cpp")
  endif()
  add_library(phx_${name} OBJECT ${sources})
  phalanx_unity(phx_${name})
  target_include_directories(phx_${name} PUBLIC "${CMAKE_SOURCE_DIR}/src")
  target_link_libraries(phx_${name} PUBLIC fmt::fmt spdlog::spdlog nlohmann_json::nlohmann_json yaml-cpp
    simdjson::simdjson ZLIB::ZLIB PkgConfig::PCRE2 PkgConfig::UTF8PROC PkgConfig::XXHASH PkgConfig::ZSTD
    PkgConfig::HDF5 MPI::MPI_C CLI11::CLI11 Threads::Threads)
  target_compile_definitions(phx_${name} PUBLIC OMPI_SKIP_MPICXX SPDLOG_FMT_EXTERNAL)
  if(TARGET phalanx_arrow AND name STREQUAL "data")
    target_compile_definitions(phx_${name} PUBLIC PHALANX_ARROW_MODULE="$<TARGET_FILE:phalanx_arrow>")
  endif()
  if(arg_TORCH)
    target_link_libraries(phx_${name} PUBLIC libtorch)
    target_precompile_headers(phx_${name} REUSE_FROM phx_${arg_TORCH}_headers)
  endif()
  set_property(TARGET phx_${name} PROPERTY PHALANX_USES "${closure}")
  set_property(TARGET phx_${name} PROPERTY PHALANX_TORCH "${arg_TORCH}")
endfunction()

# phalanx_text(FOLDER NAME file... ): each src/FOLDER/file as the constant phalanx::FOLDER::NAME in the program, which then needs no
# file beside it. src/FOLDER/page.h declares them.
function(phalanx_text folder)
  set(code "// Made by cmake from src/${folder}/; not to be edited.\n#include \"${folder}/page.h\"\n\nnamespace phalanx::${folder} {\n")
  while(ARGN)
    list(POP_FRONT ARGN name file)
    set(path "${CMAKE_SOURCE_DIR}/src/${folder}/${file}")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${path}")
    file(READ "${path}" content)
    string(APPEND code "const std::string_view ${name} = R\"phalanx(${content})phalanx\";\n")
  endwhile()
  set(output "${CMAKE_BINARY_DIR}/${folder}_page.cpp")
  file(WRITE "${output}.new" "${code}}  // namespace phalanx::${folder}\n")
  file(COPY_FILE "${output}.new" "${output}" ONLY_IF_DIFFERENT)
  target_sources(phx_${folder} PRIVATE "${output}")
endfunction()

# Links the object files of FOLDER and of everything it uses into TARGET.
function(phalanx_link_objects target folder)
  get_property(uses TARGET phx_${folder} PROPERTY PHALANX_USES)
  target_link_libraries(${target} PRIVATE phx_${folder} ${ARGN})
  foreach(used ${uses})
    target_link_libraries(${target} PRIVATE phx_${used})
  endforeach()
endfunction()

# The same for a TARGET that takes the folder's precompiled headers, too.
function(phalanx_link target folder)
  phalanx_link_objects(${target} ${folder} ${ARGN})
  get_property(torch TARGET phx_${folder} PROPERTY PHALANX_TORCH)
  if(torch)
    target_precompile_headers(${target} REUSE_FROM phx_${torch}_headers)
  endif()
endfunction()

function(phalanx_program name)
  add_executable(${name} ${ARGN})
  phalanx_link(${name} launch)
endfunction()
