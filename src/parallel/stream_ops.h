#pragma once
#include <functional>

#include "model/causal_lm.h"

namespace phalanx::parallel {

/// The stream itself; when the backward comes past this place, `action` runs before it goes on.
model::Stream on_backward(const model::Stream& stream, std::function<void()> action);
at::Tensor on_backward(const at::Tensor& tensor, std::function<void()> action);

/// body(stream) without what autograd would keep of it: the backward runs it again (Chen et al. 2016,
/// arXiv:1604.06174). Only the stream is saved.
model::Stream recomputed(const model::Stream& stream, const model::LayerBody& body);

}  // namespace phalanx::parallel
