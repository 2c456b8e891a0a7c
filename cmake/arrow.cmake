# Apache Arrow, which reads Parquet, is optional: headers and libraries are those of a pyarrow wheel, unpacked in third_party/arrow
# (unzip pyarrow-*.whl -d third_party/arrow) or installed beside the reference implementations. Both wheels, pyarrow's and torch's, use the
# C++11 ABI of libstdc++, as the compiler does. Defines the target `arrow` where they are found.
file(GLOB arrow_wheels "${PHALANX_THIRD_PARTY}/arrow/pyarrow" "${PHALANX_THIRD_PARTY}/oracles/lib/python3*/site-packages/pyarrow")
set(PHALANX_ARROW "${arrow_wheels}" CACHE PATH "folder of the pyarrow wheel (empty: Parquet is not read)")
if(PHALANX_ARROW AND NOT PHALANX_FUZZ)
  list(GET PHALANX_ARROW 0 arrow_root)
  file(GLOB arrow_libraries "${arrow_root}/libarrow.so.[0-9]*" "${arrow_root}/libparquet.so.[0-9]*")
  list(LENGTH arrow_libraries num_arrow_libraries)
  if(num_arrow_libraries EQUAL 2 AND EXISTS "${arrow_root}/include/parquet/arrow/reader.h")
    message(STATUS "Arrow in ${arrow_root}: Parquet is read")
    add_library(arrow INTERFACE)
    target_include_directories(arrow SYSTEM INTERFACE "${arrow_root}/include")
    # libarrow exports the functions of a simdjson of its own, another version than ours: ours must come first, or the program calls those.
    target_link_libraries(arrow INTERFACE "$<TARGET_FILE:simdjson::simdjson>" ${arrow_libraries})
    target_link_options(arrow INTERFACE "LINKER:-rpath,${arrow_root}")
  endif()
endif()
if(NOT TARGET arrow)
  message(STATUS "Arrow not found: files of Parquet and Arrow are refused (docs/data.md)")
endif()
