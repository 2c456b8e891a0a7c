#include <fmt/format.h>

#include <filesystem>
#include <iostream>
#include <map>

#include "checkpoint/verify.h"
#include "core/error.h"
#include "data/record.h"
#include "data/record_reader.h"
#include "data/tokenizer.h"
#include "formats/gguf.h"
#include "formats/hf_weights.h"
#include "formats/peft.h"
#include "formats/safetensors.h"
#include "launch/command.h"
#include "model/load.h"

namespace phalanx::launch {
namespace {

namespace fs = std::filesystem;

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

void print_tensors(const formats::TensorFile& file) {
  std::map<std::string, std::pair<int64_t, uint64_t>> by_type;
  for (const formats::TensorInfo& tensor : file.tensors()) {
    std::cout << fmt::format("  {:<60} {:<5} {}\n", core::printable(tensor.name, 60),
                             core::name(tensor.dtype), shape_text(tensor.shape));
    auto& [count, bytes] = by_type[std::string(core::name(tensor.dtype))];
    ++count;
    bytes += tensor.size_bytes;
  }
  for (const auto& [type, sum] : by_type)
    std::cout << fmt::format("{}: {} tensors, {} bytes\n", type, sum.first, sum.second);
}

void print_tokenizer(const data::Tokenizer& tokenizer) {
  std::cout << fmt::format("tokenizer: {} tokens, {} stop id(s), chat template of {} characters\n",
                           tokenizer.vocab_size(), tokenizer.stop_ids().size(),
                           tokenizer.chat_template().size());
}

void print_model(const model::ModelFiles& files) {
  model::check_model(files);
  const model::TransformerConfig& config = files.config();
  std::cout << fmt::format(
      "model: {} with {} parameters: {} layers, hidden_size {}, {} heads ({} key/value), vocab_size {}, {}\n",
      config.model_type, config.num_parameters(), config.num_hidden_layers, config.hidden_size,
      config.num_attention_heads, config.num_key_value_heads, config.vocab_size,
      config.tie_word_embeddings ? "tied output" : "untied output");
  for (const std::string& notice : files.notices()) std::cout << "note: " << notice << "\n";
  print_tensors(files.weights());
}

void inspect_folder(const fs::path& path) {
  if (fs::exists(path / "adapter_config.json")) {
    const formats::AdapterConfig config = formats::read_adapter_config(path / "adapter_config.json");
    std::cout << fmt::format("LoRA adapter: r {}, alpha {}, targets {}\n", config.r, config.lora_alpha,
                             fmt::join(config.target_modules, ", "));
    print_tensors(formats::SafetensorsFile((path / "adapter_model.safetensors").string()));
    return;
  }
  if (fs::exists(path / "config.json")) {
    print_model(model::ModelFiles::open(path));
    if (fs::exists(path / "tokenizer.json")) print_tokenizer(*data::load_hf_tokenizer(path.string()));
    return;
  }
  if (fs::exists(path / "tokenizer.json")) return print_tokenizer(*data::load_hf_tokenizer(path.string()));
  checkpoint::verify_command(path.string(), std::cout);
}

void inspect_data(const fs::path& path) {
  const auto reader = data::open_records(path.string());
  data::RawRecord raw;
  std::map<std::string, int64_t> formats;
  while (reader->next(raw)) {
    try {
      if (!raw.problem.empty()) core::fail(core::ExitCode::kBadInput, "{}", raw.problem);
      const data::Record record = data::read_record(reader->parse(raw), "auto");
      ++formats[fmt::format("{}: {}", record.format, data::describe(record.kind))];
    } catch (const core::Error& error) {
      core::fail(core::ExitCode::kBadInput, "{}: line {} (byte {}): {}", path.string(), raw.line, raw.byte,
                 error.what());
    }
  }
  if (formats.empty()) core::fail(core::ExitCode::kBadInput, "{}: holds no record", path.string());
  for (const auto& [format, count] : formats)
    std::cout << fmt::format("{}, {} records of format {}\n", reader->container(), count, format);
}

void inspect(const fs::path& path) {
  const std::string name = path.filename().string();
  if (!fs::exists(path)) core::fail(core::ExitCode::kBadInput, "{}: no such file or folder", path.string());
  if (fs::is_directory(path)) return inspect_folder(path);
  if (name.ends_with(".gguf")) {
    const model::ModelFiles files = model::ModelFiles::open(path);
    print_model(files);
    return print_tokenizer(*data::load_gguf_tokenizer(*files.gguf()));
  }
  if (name.ends_with(".safetensors")) return print_tensors(formats::SafetensorsFile(path.string()));
  if (name == "tokenizer.json") return print_tokenizer(*data::load_hf_tokenizer(path.parent_path().string()));
  if (name == "adapter_config.json" || name == "config.json" || name == "MANIFEST.json")
    return inspect_folder(path.parent_path());
  if (data::is_record_file(name)) return inspect_data(path);
  if (name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth")) {
    core::fail(core::ExitCode::kBadInput,
               "{}: a pickle file can run code when it is read and is refused; convert it to safetensors "
               "where it was made",
               path.string());
  }
  core::fail(core::ExitCode::kBadInput,
             "{}: not a kind of file that is known; known are .gguf, .safetensors, tokenizer.json, "
             "adapters, checkpoints, Hugging Face folders, and records in {}",
             path.string(), data::known_record_files());
}

const bool inspect_registered = register_command(
    {"inspect", "Shows what is in a model, adapter, checkpoint, tokenizer or data file, checking all of it",
     [](CLI::App& app) {
       auto path = std::make_shared<std::string>();
       app.add_option("path", *path, "File or folder")->required();
       return [path] {
         inspect(*path);
         return 0;
       };
     }});

}  // namespace
}  // namespace phalanx::launch
