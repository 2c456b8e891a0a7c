#include "data/json_lines.h"

#include <cstring>

#include "data/json_value.h"

namespace phalanx::data {

bool JsonLines::next(RawRecord& line) {
  size_t searched = 0;  // of the line, from the window's start
  bool too_long = false;
  line = {};
  line.byte = stream_.byte();
  for (;;) {
    const std::string_view window = stream_.window();
    const void* found = std::memchr(window.data() + searched, '\n', window.size() - searched);
    if (!found && !stream_.at_end()) {
      searched = window.size();
      if (searched > kMaxLineBytes) {  // forget the text, keep looking for its end
        too_long = true;
        stream_.consume(window.size());
        searched = 0;
      }
      stream_.fill();
      continue;
    }
    const size_t end =
        found ? static_cast<size_t>(static_cast<const char*>(found) - window.data()) : window.size();
    if (!found && end == 0 && !too_long) return false;
    line.text.assign(window.substr(0, end));
    stream_.consume(std::min(window.size(), end + 1));
    line.line = ++number_;
    if (too_long || line.text.size() > kMaxLineBytes) {
      line.text.clear();
      line.problem = "the line is longer than 64 MiB";
      return true;
    }
    if (line.text.ends_with('\r')) line.text.pop_back();
    if (line.text.find_first_not_of(" \t\r") != std::string::npos) return true;
    searched = 0;
    line.byte = stream_.byte();
  }
}

jinja::Value JsonLines::parse(const RawRecord& line) const {
  return parse_record_json(line.text);
}

}  // namespace phalanx::data
