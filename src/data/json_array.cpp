#include "data/json_array.h"

#include <algorithm>

#include "core/error.h"
#include "data/json_lines.h"
#include "data/json_value.h"

namespace phalanx::data {
namespace {

constexpr std::string_view kJsonBlank = " \t\r\n";

/// Where in a JSON text one is: enough to find the end of an array's item without parsing it.
class ItemScanner {
 public:
  /// Is `c` the comma or bracket behind the item? Else it is part of it.
  bool ends_at(char c) {
    if (in_string_) {
      if (escaped_)
        escaped_ = false;
      else if (c == '\\')
        escaped_ = true;
      else if (c == '"')
        in_string_ = false;
      return false;
    }
    if (depth_ == 0 && (c == ',' || c == ']')) return true;
    if (c == '"') in_string_ = true;
    if (c == '[' || c == '{') ++depth_;
    if ((c == ']' || c == '}') && depth_ > 0) --depth_;
    return false;
  }

 private:
  int64_t depth_ = 0;
  bool in_string_ = false, escaped_ = false;
};

}  // namespace

JsonArray::JsonArray(const std::string& path) : path_(path), stream_(path) {
  if (peek() != '[') broken("not a JSON array: it must begin with [");
  consume(1);
}

bool JsonArray::next(RawRecord& item) {
  item = {};
  if (is_done_) return false;
  if (!is_first_ && peek() == ',') {
    consume(1);
  } else if (peek() == ']') {
    consume(1);
    is_done_ = true;
    if (peek() != 0) broken("there is more behind the array's end");
    return false;
  }
  is_first_ = false;
  peek();  // the item begins behind the blanks
  read_item(item);
  return true;
}

char JsonArray::peek() {
  for (;;) {
    const std::string_view window = stream_.window();
    const size_t at = window.find_first_not_of(kJsonBlank);
    consume(std::min(at, window.size()));
    if (at != std::string_view::npos) return stream_.window()[0];
    if (!stream_.fill()) return 0;
  }
}

void JsonArray::consume(size_t bytes) {
  const std::string_view gone = stream_.window().substr(0, bytes);
  line_ += std::count(gone.begin(), gone.end(), '\n');
  stream_.consume(bytes);
}

void JsonArray::read_item(RawRecord& item) {
  item.line = line_;
  item.byte = stream_.byte();
  ItemScanner scanner;
  size_t scanned = 0;
  bool too_long = false;
  for (;;) {
    const std::string_view window = stream_.window();
    while (scanned < window.size() && !scanner.ends_at(window[scanned])) ++scanned;
    const bool is_whole = scanned < window.size();
    if (is_whole || stream_.at_end()) {
      item.text.assign(window.substr(0, scanned));
      consume(scanned);
      if (too_long || item.text.size() > kMaxRecordBytes) item.problem = "the record is longer than 64 MiB";
      if (!is_whole) item.problem = "the file ends inside of the array";
      if (!item.problem.empty()) item.text.clear();
      is_done_ = !is_whole;
      return;
    }
    if (scanned > kMaxRecordBytes) {  // forget the text, keep looking for its end
      too_long = true;
      consume(scanned);
      scanned = 0;
    }
    stream_.fill();
  }
}

jinja::Value JsonArray::parse(const RawRecord& item) const {
  return parse_record_json(item.text);
}

void JsonArray::broken(const std::string& what) const {
  core::fail(core::ExitCode::kBadInput, "{}: line {} (byte {}): {}", path_, line_, stream_.byte(), what);
}

std::unique_ptr<RecordReader> open_json(const std::string& path) {
  TextStream stream(path);
  while (stream.window().find_first_not_of(kJsonBlank) == std::string_view::npos && stream.fill()) {
    if (stream.window().find_first_not_of(kJsonBlank) == std::string_view::npos)
      stream.consume(stream.window().size());
  }
  const size_t first = stream.window().find_first_not_of(kJsonBlank);
  if (first != std::string_view::npos && stream.window()[first] == '[')
    return std::make_unique<JsonArray>(path);
  return std::make_unique<JsonLines>(path);
}

}  // namespace phalanx::data
