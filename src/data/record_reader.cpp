#include "data/record_reader.h"

#include <algorithm>
#include <functional>

#include "core/error.h"
#include "data/columnar_records.h"
#include "data/csv_records.h"
#include "data/json_array.h"
#include "data/json_lines.h"
#include "data/task_records.h"
#include "data/text_documents.h"

namespace phalanx::data {
namespace {

using Open = std::function<std::unique_ptr<RecordReader>(const std::string&, const TextFileOptions&)>;

struct Container {
  std::vector<std::string> endings;
  Open open;
  bool packs_itself = false;  ///< no .gz or .zst behind it
};

const std::vector<Container>& containers() {
  static const std::vector<Container> known = {
      {{".jsonl", ".ndjson"},
       [](const std::string& path, const auto&) { return std::make_unique<JsonLines>(path); }},
      {{".json"}, [](const std::string& path, const auto&) { return open_json(path); }},
      {{".csv"},
       [](const std::string& path, const auto&) { return std::make_unique<CsvRecords>(path, ','); }},
      {{".tsv"},
       [](const std::string& path, const auto&) { return std::make_unique<CsvRecords>(path, '\t'); }},
      {{".txt"},
       [](const std::string& path, const TextFileOptions& text) {
         return std::make_unique<TextDocuments>(path, text);
       }},
      {{".parquet", ".arrow"},
       [](const std::string& path, const auto&) { return open_columnar(path); },
       true}};
  return known;
}

const Container* find_container(const std::string& path) {
  std::string_view name = path;
  for (const std::string_view packed : {".gz", ".zst"})
    if (name.ends_with(packed)) name.remove_suffix(packed.size());
  for (const Container& container : containers()) {
    for (const std::string& ending : container.endings)
      if ((container.packs_itself ? std::string_view(path) : name).ends_with(ending)) return &container;
  }
  return nullptr;
}

}  // namespace

bool is_record_file(const std::string& path) {
  return is_task_path(path) || find_container(path) != nullptr;
}

const std::string& known_record_files() {
  static const std::string names = [] {
    std::string text;
    for (const Container& container : containers())
      for (const std::string& ending : container.endings) text += (text.empty() ? "" : ", ") + ending;
    return text + " (text also with .gz, .zst)";
  }();
  return names;
}

std::unique_ptr<RecordReader> open_records(const std::string& path, const TextFileOptions& text) {
  if (is_task_path(path)) return open_task(path);
  if (const Container* container = find_container(path)) return container->open(path, text);
  core::fail(core::ExitCode::kBadInput, "{}: the name does not say what kind of file it is; known are {}",
             path, known_record_files());
}

}  // namespace phalanx::data
