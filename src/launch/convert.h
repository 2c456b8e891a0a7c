#pragma once
#include <CLI/CLI.hpp>
#include <string>

#include "launch/export_job.h"

namespace phalanx::launch {

/// What --outtype takes, in words; `whose` own type is the default.
std::string outtype_help(const std::string& whose);
/// What --to takes.
std::string to_help();
void add_writer_options(CLI::App& app, ExportArguments& arguments);

}  // namespace phalanx::launch
