// Defaults of the sanitizers for every program of the `asan` preset; ASAN_OPTIONS and UBSAN_OPTIONS still
// override them.
extern "C" const char* __asan_default_options() {
  // Open MPI opens its plug-ins at run time, and what they hold at exit would be reported without a name if
  // they were closed first; detect_stack_use_after_return stays off: ATen's frames are too many for it.
  return "abort_on_error=0:strict_string_checks=1:detect_stack_use_after_return=0:check_initialization_order="
         "1";
}

extern "C" const char* __ubsan_default_options() {
  return "print_stacktrace=1:halt_on_error=1";
}

/// What libraries below us keep until the process ends.
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libopen-pal\n"
         "leak:libopen-rte\n"
         "leak:libmpi.so\n"
         "leak:mca_\n"
         "leak:libpmix\n"
         "leak:libhwloc\n"
         "leak:libevent\n"
         "leak:libfabric\n"
         "leak:libucp\n"
         "leak:libucs\n"
         "leak:libtorch_cpu.so\n"
         "leak:libc10.so\n"
         "leak:libgomp\n"
         "leak:libhdf5\n";
}
