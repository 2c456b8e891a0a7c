// A job of which a rank fails in the way that the argument names: mpirun -n N comm_mpi_job CASE. Used by
// mpi_failure_test.cpp.
#include <ATen/ATen.h>
#include <unistd.h>

#include <cstdio>
#include <thread>

#include "comm/failure.h"
#include "comm/mpi_runtime.h"

namespace phalanx::comm {
namespace {

void bad_input(const std::string& text) {
  throw core::Error(core::ExitCode::kBadInput, text);
}

void fail_as_named(const std::string& name, Communicator& world) {
  const int rank = world.rank();
  const at::Tensor tensor = at::ones({100'000}, at::kFloat);
  world.all_reduce(tensor);
  if (name == "none") return;
  if (name == "throw" && rank == 1) bad_input("a.jsonl: line 3 is not JSON");
  if (name == "throw_late" && rank == 1) {
    std::this_thread::sleep_for(std::chrono::milliseconds(700));
    bad_input("a.jsonl: line 3 is not JSON");
  }
  if (name == "throw_alike") bad_input("a.jsonl: no such file");
  if (name == "throw_two" && rank > 0) bad_input("shard " + std::to_string(rank) + " is missing");
  if (name == "throw_pending" && rank == 1) {
    const auto work = world.all_reduce_async(tensor, ReduceOp::kSum);
    const auto part = world.split(0, 0);  // the others never come: they are in the all_reduce
    bad_input("not reached");
  }
  if (name == "throw_with_group" && rank == 1) {
    const auto part = world.split(0, 0);
    const auto work = part->all_reduce_async(tensor, ReduceOp::kSum);
    bad_input("thrown over a group with a collective under way");
  }
  if (name == "throw_with_group") {  // never joins what is under way: that would race with the error
    const auto part = world.split(0, 0);
    world.barrier();
  }
  if (name == "exit" && rank == 1) _exit(75);
  if (name == "lost_step" && rank == 1) world.broadcast(tensor);
  if (name == "late" && rank == 1) std::this_thread::sleep_for(std::chrono::seconds(20));
  if (name == "recv" && rank == 0) world.recv(tensor, 1);
  if (name == "recv" && rank == 1) bad_input("nothing to send");
  if (name == "short_message" && rank == 1) world.send(at::ones({10}), 0);
  if (name == "short_message" && rank == 0) world.recv(tensor, 1);
  if (name == "asked" && rank == 1) bad_input("nothing to compute");
  if (name == "asked") {  // no collective: only check() can tell, as for a backend that waits by itself
    for (int i = 0; i < 1000; ++i, std::this_thread::sleep_for(std::chrono::milliseconds(5))) world.check();
    bad_input("not reached: check() heard nothing in 5 s");
  }
  if (name == "in_thread" && rank == 1) {
    std::thread([&] { world.abort("the writer thread has no space left", core::ExitCode::kStorage); }).join();
  }
  for (int i = 0; i < 3; ++i) world.all_reduce(tensor);
}

int run(int argc, char** argv) {
  MpiRuntime runtime;
  const MpiOptions options{.shared_memory = argc < 3,
                           .timeout_s = std::string(argv[1]) == "late" ? 1.0 : 30.0};
  try {
    const std::unique_ptr<Communicator> world = make_mpi_communicator(runtime, options);
    fail_as_named(argv[1], *world);
  } catch (...) {
    const Failure failure = describe_failure(std::current_exception(), runtime.rank());
    if (failure.rank != runtime.rank()) std::printf("released %d by %d\n", runtime.rank(), failure.rank);
    std::fflush(stdout);
    runtime.end_failed_job(
        failure, [](const std::string& line) { std::fprintf(stderr, "error: %s\n", line.c_str()); });
  }
  return 0;
}

}  // namespace
}  // namespace phalanx::comm

int main(int argc, char** argv) {
  return phalanx::comm::run(argc, argv);
}
