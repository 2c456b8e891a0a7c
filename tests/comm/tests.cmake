# The bodies of collective_cases.cpp run on every backend: as threads in comm_tests, as processes in comm_mpi_tests.
target_sources(comm_tests PRIVATE "${CMAKE_CURRENT_LIST_DIR}/collective_cases.cpp")

add_executable(comm_mpi_tests comm/mpi_suite.cpp comm/collective_cases.cpp)
add_executable(comm_mpi_job comm/mpi_job.cpp)
foreach(program comm_mpi_tests comm_mpi_job)
  phalanx_link(${program} comm GTest::gtest)
  target_include_directories(${program} PRIVATE "${CMAKE_SOURCE_DIR}/tests")
endforeach()
add_dependencies(comm_tests comm_mpi_job)
target_compile_definitions(comm_tests PRIVATE PHALANX_MPI_JOB="$<TARGET_FILE:comm_mpi_job>")

foreach(num_ranks 1 2 4)
  add_test(NAME comm_mpi_tests.${num_ranks}_ranks
           COMMAND ${MPIEXEC_EXECUTABLE} --oversubscribe --bind-to none -n ${num_ranks} $<TARGET_FILE:comm_mpi_tests>)
  set_tests_properties(comm_mpi_tests.${num_ranks}_ranks PROPERTIES TIMEOUT 120 RUN_SERIAL ON
    ENVIRONMENT "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OMP_NUM_THREADS=1")
endforeach()

# The same bodies between GPUs. A build without CUDA names each as a test that has not run, so that none is forgotten.
if(PHALANX_CUDA)
  add_executable(comm_nccl_tests comm/nccl_suite.cpp comm/collective_cases.cpp)
  phalanx_link(comm_nccl_tests comm GTest::gtest_main)
  target_include_directories(comm_nccl_tests PRIVATE "${CMAKE_SOURCE_DIR}/tests")
  gtest_discover_tests(comm_nccl_tests DISCOVERY_TIMEOUT 120 PROPERTIES TIMEOUT 120 LABELS gpu RUN_SERIAL ON)
else()
  file(STRINGS "${CMAKE_CURRENT_LIST_DIR}/collective_cases.cpp" cases REGEX "^      (PHALANX_CASE\\(|{\")[a-z]")
  foreach(case ${cases})
    string(REGEX MATCH "[a-z][a-z_]+" case "${case}")
    add_test(NAME Nccl.${case} COMMAND ${CMAKE_COMMAND} -E echo "not run: this build has no CUDA part")
    set_tests_properties(Nccl.${case} PROPERTIES LABELS gpu SKIP_REGULAR_EXPRESSION "not run")
  endforeach()
endif()
