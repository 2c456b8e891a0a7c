# A program is started from ranks that have messages on their way. Without namespaces the job cannot judge the sandbox, so
# it runs without them, too: how the process is started is the same.
add_executable(sandbox_mpi_job reward/sandbox_mpi_job.cpp)
phalanx_link_objects(sandbox_mpi_job reward)
foreach(sandbox none namespaces)
  add_test(NAME SandboxUnderMpi.${sandbox}
           COMMAND ${MPIEXEC_EXECUTABLE} --oversubscribe --bind-to none -n 2 $<TARGET_FILE:sandbox_mpi_job>
           $<$<STREQUAL:${sandbox},none>:none>)
  set_tests_properties(SandboxUnderMpi.${sandbox} PROPERTIES TIMEOUT 120 SKIP_REGULAR_EXPRESSION "allows no sandbox"
    ENVIRONMENT "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OMP_NUM_THREADS=1")
endforeach()

# In a user namespace that allows no others.
add_test(NAME SandboxUnderMpi.refuses_without_namespaces
         COMMAND unshare --user --map-root-user sh -c
                 "echo 0 > /proc/sys/user/max_user_namespaces && exec $<TARGET_FILE:sandbox_mpi_job>")
set_tests_properties(SandboxUnderMpi.refuses_without_namespaces PROPERTIES TIMEOUT 60
  PASS_REGULAR_EXPRESSION "program: this machine allows no sandbox .*set sandbox: none" SKIP_REGULAR_EXPRESSION "unshare: ")
