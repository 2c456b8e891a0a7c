#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace phalanx::core {

/// The candidate that `word` is most likely a misspelling of; none if all of them are too far away. Distance
/// counts inserted, deleted, changed and swapped characters; a third of the word, or 2 characters, may
/// differ. Failing that, the first candidate that contains the word.
std::optional<std::string> nearest(std::string_view word, const std::vector<std::string>& candidates);

/// What another trainer's config key is called here: "num_train_epochs" -> "train.epochs". Covers HF Trainer
/// and TRL, Axolotl, LLaMA-Factory and torchtitan.
std::optional<std::string> our_name_of(std::string_view peer_key);

}  // namespace phalanx::core
