#include "data/columnar_records.h"

#include <dlfcn.h>

#include <array>
#include <filesystem>

#include "core/error.h"
#include "data/columns_arrow.h"
#include "data/json_value.h"

namespace phalanx::data {
namespace {

constexpr size_t kMaxReasonBytes = 512;

struct ArrowModule {
  PhxColumnsOpen open = nullptr;
  PhxColumnsNext next = nullptr;
  PhxColumnsClose close = nullptr;
  std::string problem = {};  ///< why it is not there
};

#ifdef PHALANX_ARROW_MODULE

template <typename Function>
void find_function(void* module, const char* name, ArrowModule& arrow, Function& function) {
  function = reinterpret_cast<Function>(dlsym(module, name));
  if (function == nullptr) arrow.problem = std::string("phalanx_arrow.so lacks ") + name;
}

/// The module beside the program, or where the build put it.
ArrowModule load_arrow() {
  ArrowModule arrow;
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path beside = program.parent_path() / "phalanx_arrow.so";
  const std::string path = std::filesystem::exists(beside, error) ? beside.string() : PHALANX_ARROW_MODULE;
  // Its own names first: libraries of ours have the same in another version.
  void* module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
  if (module == nullptr) {
    arrow.problem = std::string("Apache Arrow cannot be loaded (") + dlerror() + ")";
    return arrow;
  }
  find_function(module, "phx_columns_open", arrow, arrow.open);
  find_function(module, "phx_columns_next", arrow, arrow.next);
  find_function(module, "phx_columns_close", arrow, arrow.close);
  return arrow;
}

#else

ArrowModule load_arrow() {
  return {.problem = "this build has no Apache Arrow"};
}

#endif

const ArrowModule& arrow_module(const std::string& path) {
  static const ArrowModule arrow = load_arrow();
  if (arrow.problem.empty()) return arrow;
  core::fail(
      core::ExitCode::kBadInput,
      "{}: columns of Parquet and Arrow are not read: {}; build with the pyarrow wheel in third_party/arrow "
      "(docs/data.md), or write the rows as JSON lines (in Python: "
      "pandas.read_parquet(FILE).to_json(\"FILE.jsonl\", orient=\"records\", lines=True))",
      path, core::printable(arrow.problem, 300));
}

class ColumnarRecords : public RecordReader {
 public:
  explicit ColumnarRecords(const std::string& path)
      : path_(path), is_parquet_(path.ends_with(".parquet")), arrow_(arrow_module(path)) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(path, error)) {  // opening a pipe would wait for its writer
      core::fail(core::ExitCode::kBadInput, "{}: no such file, or not a regular one; name a file of records",
                 path);
    }
    reader_ = arrow_.open(path.c_str(), is_parquet_ ? 1 : 0, reason_.data(), reason_.size());
    if (reader_ == nullptr) fail_file();
  }
  ~ColumnarRecords() override { arrow_.close(reader_); }
  ColumnarRecords(const ColumnarRecords&) = delete;
  ColumnarRecords& operator=(const ColumnarRecords&) = delete;

  std::string_view container() const override { return is_parquet_ ? "Parquet" : "Arrow"; }

  bool next(RawRecord& row) override {
    const char* text = nullptr;
    size_t size = 0;
    const int found = arrow_.next(reader_, &text, &size, reason_.data(), reason_.size());
    if (found < 0) fail_file();
    if (found == 0) return false;
    row = RawRecord{.text = {}, .line = ++number_, .byte = 0, .problem = {}};
    if (found == 2) {
      row.problem = core::printable(reason_.data(), kMaxReasonBytes);
    } else if (size > kMaxRecordBytes) {
      row.problem = "the row is longer than 64 MiB";
    } else {
      row.text.assign(text, size);
    }
    return true;
  }

  jinja::Value parse(const RawRecord& row) const override { return parse_record_json(row.text); }

 private:
  [[noreturn]] void fail_file() const {
    core::fail(core::ExitCode::kBadInput, "{}: cannot be read as {}: {}", path_, container(),
               core::printable(reason_.data(), kMaxReasonBytes));
  }

  std::string path_;
  bool is_parquet_;
  const ArrowModule& arrow_;
  void* reader_ = nullptr;
  std::array<char, kMaxReasonBytes> reason_ = {};
  int64_t number_ = 0;
};

}  // namespace

std::unique_ptr<RecordReader> open_columnar(const std::string& path) {
  return std::make_unique<ColumnarRecords>(path);
}

}  // namespace phalanx::data
