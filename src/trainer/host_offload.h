#pragma once
#include <memory>

#include "trainer/optimizer.h"

namespace phalanx::trainer {

/// `inner`, whose state is on the host, for weights on a device (ZeRO-Offload; Ren et al. 2021,
/// arXiv:2101.06840). A step goes range by range:
///
///     gradient (4 bytes a weight) and compute weights (2 or 4) -> host, update there, compute weights ->
///     device
///
/// so that the device holds neither moments nor lower halves of masters (10 bytes a weight less in bf16, 8 in
/// fp32), for a few passes over the bus and the host's memory. The same bits as without it where host and
/// device compute the same update.
std::unique_ptr<Optimizer> offloaded_to_host(std::unique_ptr<Optimizer> inner);

}  // namespace phalanx::trainer
