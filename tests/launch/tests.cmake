# Whole runs of the program, as a user starts it.
target_sources(launch_tests PRIVATE "${CMAKE_CURRENT_LIST_DIR}/program.cpp")
target_compile_definitions(launch_tests PRIVATE PHALANX_PROGRAM="$<TARGET_FILE:phalanx>")
add_dependencies(launch_tests phalanx)

# The fault drivers of tests/fault over whole training runs.
foreach(driver kill_random kill_rollouts kill_calls disk_full_run stop_ranks two_hosts)
  add_test(NAME fault.${driver} COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/fault/${driver}.py $<TARGET_FILE:phalanx>)
  set_tests_properties(fault.${driver} PROPERTIES TIMEOUT 1200 SKIP_RETURN_CODE 77 LABELS fault)
endforeach()

# Pages in a headless browser.
add_test(NAME browser.label COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/browser/label_page.py $<TARGET_FILE:phalanx>)
set_tests_properties(browser.label PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 77 LABELS browser)
