# The fault drivers of tests/fault over a small program that only resumes and saves.
add_executable(checkpoint_fault_program checkpoint/checkpoint_fault_program.cpp)
phalanx_link(checkpoint_fault_program checkpoint)
foreach(driver kill_sweep storage_errors disk_full)
  add_test(NAME fault.${driver}
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/fault/${driver}.sh $<TARGET_FILE:checkpoint_fault_program>)
  set_tests_properties(fault.${driver} PROPERTIES TIMEOUT 1200 SKIP_RETURN_CODE 77 LABELS fault)
endforeach()
