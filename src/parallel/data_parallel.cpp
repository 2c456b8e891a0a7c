#include "parallel/data_parallel.h"

#include <ATen/ATen.h>

namespace phalanx::parallel {

void DataParallel::start(size_t block) {
  if (mesh().batch().size() == 1) return;
  works_.push_back(mesh().batch().all_reduce_async(parameters().grad(block), comm::ReduceOp::kSum));
}

void DataParallel::wait_for_all() {
  for (auto& work : works_) work->wait();
  works_.clear();
}

}  // namespace phalanx::parallel
