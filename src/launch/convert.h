#pragma once
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "launch/loaded_model.h"

namespace phalanx::launch {

/// What becomes of a model in another format.
struct ConvertArguments {
  std::string source, destination, to = "hf", outtype, imatrix;
  bool adapter_alone = false;  // GGUF of the adapter, not of the model it makes
  std::vector<std::string> sets;
};

/// Refuses what cannot become anything, before weights are read. @throws core::Error (65, 78).
void check_arguments(const ConvertArguments& arguments);

/// Writes the model, reads it back and compares it. @return exit code.
int write_converted(const LoadedModel& source, const ConvertArguments& arguments);

/// What --outtype takes, in words; `whose` own type is the default.
std::string outtype_help(const std::string& whose);
void add_importance_option(CLI::App& app, ConvertArguments& arguments);

}  // namespace phalanx::launch
