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
