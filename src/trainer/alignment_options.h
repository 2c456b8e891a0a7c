#pragma once
#include <string>
#include <vector>

#include "core/config.h"
#include "trainer/options.h"

namespace phalanx::trainer {

/// The keys of section `method` that methods of judged answers read.
void declare_alignment_keys(core::SectionBuilder<MethodOptions>& s);

/// method.loss_type where it is one name of `known`. @throws core::Error (78) with its position.
std::string single_loss_type(const core::Config& config, const std::string& absent,
                             const std::vector<std::string>& known);
/// @throws core::Error (78) with the key's position in front of what is wrong with it.
[[noreturn]] void fail_method_key(const core::Config& config, const std::string& key,
                                  const std::string& problem);
/// method.beta, 0.1 where it is not set.
double positive_beta(const core::Config& config);
/// method.label_smoothing, which only some loss types read.
double label_smoothing(const core::Config& config, bool is_read, const std::string& by);

}  // namespace phalanx::trainer
