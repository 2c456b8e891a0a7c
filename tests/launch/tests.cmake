# Whole runs of the program, as a user starts it.
target_sources(launch_tests PRIVATE "${CMAKE_CURRENT_LIST_DIR}/program.cpp")
target_compile_definitions(launch_tests PRIVATE PHALANX_PROGRAM="$<TARGET_FILE:phalanx>")
add_dependencies(launch_tests phalanx)
