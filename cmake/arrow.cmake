# Apache Arrow, which reads Parquet, is optional: headers and libraries are those of a pyarrow wheel, unpacked in third_party/arrow
# (unzip pyarrow-*.whl -d third_party/arrow) or installed beside the reference implementations. Both wheels, pyarrow's and torch's, use the
# C++11 ABI of libstdc++, as the compiler does. Defines the module phalanx_arrow where they are found. It is loaded when a file asks for it and
# never linked: libparquet exports another version of simdjson than the program's. AddressSanitizer refuses to load it the way it must be.
file(GLOB arrow_wheels "${PHALANX_THIRD_PARTY}/arrow/pyarrow" "${PHALANX_THIRD_PARTY}/oracles/lib/python3*/site-packages/pyarrow")
set(PHALANX_ARROW "${arrow_wheels}" CACHE PATH "folder of the pyarrow wheel (empty: Parquet is not read)")
if(PHALANX_ARROW AND NOT PHALANX_SANITIZE)
  list(GET PHALANX_ARROW 0 arrow_root)
  file(GLOB arrow_libraries "${arrow_root}/libarrow.so.[0-9]*" "${arrow_root}/libparquet.so.[0-9]*")
  list(LENGTH arrow_libraries num_arrow_libraries)
  if(num_arrow_libraries EQUAL 2 AND EXISTS "${arrow_root}/include/parquet/arrow/reader.h")
    message(STATUS "Arrow in ${arrow_root}: Parquet is read")
    add_library(phalanx_arrow MODULE src/data/columns_arrow.cpp)
    set_target_properties(phalanx_arrow PROPERTIES PREFIX "" CXX_VISIBILITY_PRESET hidden POSITION_INDEPENDENT_CODE ON)
    target_include_directories(phalanx_arrow PRIVATE "${CMAKE_SOURCE_DIR}/src")
    target_include_directories(phalanx_arrow SYSTEM PRIVATE "${arrow_root}/include")
    target_link_libraries(phalanx_arrow PRIVATE ${arrow_libraries} nlohmann_json::nlohmann_json)
    target_link_options(phalanx_arrow PRIVATE "LINKER:-rpath,${arrow_root}")
  endif()
endif()
if(NOT TARGET phalanx_arrow)
  message(STATUS "Arrow not found: files of Parquet and Arrow are refused (docs/data.md)")
endif()
