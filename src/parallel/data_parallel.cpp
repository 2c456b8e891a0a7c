#include "parallel/data_parallel.h"

#include <ATen/ATen.h>

namespace phalanx::parallel {

void DataParallel::start(size_t block) {
  comm::Communicator& group = mesh().holders(parameters().blocks()[block].is_expert).batch;
  if (group.size() == 1) return;
  works_.push_back(group.all_reduce_async(parameters().grad(block), comm::ReduceOp::kSum));
}

void DataParallel::wait_for_all() {
  for (auto& work : works_) work->wait();
  works_.clear();
}

}  // namespace phalanx::parallel
