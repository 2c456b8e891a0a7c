# The bodies of collective_cases.cpp run on every backend.
target_sources(comm_tests PRIVATE "${CMAKE_CURRENT_LIST_DIR}/collective_cases.cpp")
