#include "model/activation_names.h"

#include <fmt/ranges.h>

#include <map>
#include <ranges>

#include "core/error.h"

namespace phalanx::model {

ops::Activation activation_of(const std::string& name) {
  using ops::Activation;
  static const std::map<std::string, Activation> known = {{"silu", Activation::kSilu},
                                                          {"swish", Activation::kSilu},
                                                          {"gelu", Activation::kGelu},
                                                          {"gelu_new", Activation::kGeluTanh},
                                                          {"gelu_pytorch_tanh", Activation::kGeluTanh}};
  const auto found = known.find(name);
  if (found == known.end()) {
    core::fail(core::ExitCode::kBadInput, "hidden_act is \"{}\"; implemented are {}", core::printable(name),
               fmt::join(std::views::keys(known), ", "));
  }
  return found->second;
}

}  // namespace phalanx::model
