#include "core/yaml_tree.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <optional>
#include <sstream>
#include <unordered_map>

#include "core/error.h"

namespace phalanx::core {

const YamlEntry* YamlNode::find(std::string_view key) const {
  const auto place =
      std::find_if(entries.begin(), entries.end(), [&](const YamlEntry& e) { return e.key == key; });
  return place == entries.end() ? nullptr : &*place;
}

namespace {

/// A problem that ends the reading of the document.
struct Stop {
  Problem problem;
};

[[noreturn]] void stop(int set, int line, int column, std::string message) {
  throw Stop{{{set, line, column}, std::move(message)}};
}

// ---- Before yaml-cpp sees the text
// -------------------------------------------------------------------------------

/// What yaml-cpp would guess about, accept silently, or read in another encoding.
class Screen {
 public:
  Screen(std::string_view text, int set) : text_(text), set_(set) {}

  void check() {
    check_start();
    while (place_ < text_.size()) {
      const size_t end = std::min(text_.find('\n', place_), text_.size());
      check_line(text_.substr(place_, end - place_));
      place_ = end + 1;
      ++line_;
    }
  }

 private:
  void check_start() const {
    if (text_.size() > YamlLimits::kMaxBytes) {
      stop(set_, 1, 1,
           fmt::format("the file has {} bytes, at most {} are allowed", text_.size(), YamlLimits::kMaxBytes));
    }
    if (text_.starts_with("\xff\xfe") || text_.starts_with("\xfe\xff") ||
        text_.starts_with(std::string_view("\0", 1)) || text_.substr(0, 2).ends_with('\0')) {
      stop(set_, 1, 1, "the file is UTF-16 or UTF-32, only UTF-8 is read; save it as UTF-8");
    }
    if (text_.starts_with("\xef\xbb\xbf")) {
      stop(set_, 1, 1, "the file starts with a byte order mark; save it as UTF-8 without BOM");
    }
  }

  void check_line(std::string_view line) {
    if (line.size() > YamlLimits::kMaxLineBytes) {
      stop(set_, line_, 1,
           fmt::format("the line has {} bytes, at most {} are allowed", line.size(),
                       YamlLimits::kMaxLineBytes));
    }
    check_characters(line);
    if (line.ends_with('\r')) line.remove_suffix(1);
    const size_t indentation = line.find_first_not_of(' ');
    const bool has_content = indentation != std::string_view::npos && line[indentation] != '#';
    if (has_content && line[indentation] == '\t' && line.find_first_not_of(" \t") != std::string_view::npos) {
      stop(set_, line_, int(indentation) + 1, "a tab in the indentation; YAML is indented by spaces");
    }
    if (line.starts_with('%') && !seen_content_) {
      stop(set_, line_, 1,
           fmt::format("the directive {} is not supported; remove the line", printable(line)));
    }
    if (line.starts_with("...") && line.find_first_not_of(" \t", 3) == std::string_view::npos) {
      stop(set_, line_, 1, "the end mark '...' is not supported; a config is one document");
    }
    seen_content_ |= has_content;
  }

  void check_characters(std::string_view line) const {
    size_t place = 0;
    while (place < line.size()) {
      const int column = int(place) + 1;
      const size_t length = utf8_length(line.substr(place));
      const auto byte = static_cast<unsigned char>(line[place]);
      if (length == 0) stop(set_, line_, column, fmt::format("the byte 0x{:02x} is not valid UTF-8", byte));
      if (byte == '\r' && place + 1 != line.size()) {
        stop(set_, line_, column, "a carriage return inside a line; lines end with LF or CR LF");
      }
      if (byte == '\r' && place_ + line.size() == text_.size()) {
        stop(set_, line_, column, "a carriage return without line feed; lines end with LF or CR LF");
      }
      if ((byte < 0x20 && byte != '\t' && byte != '\r') || byte == 0x7f) {
        stop(set_, line_, column, fmt::format("the control character 0x{:02x} is not allowed", byte));
      }
      place += length;
    }
  }

  std::string_view text_;
  int set_;
  size_t place_ = 0;
  int line_ = 1;
  bool seen_content_ = false;
};

// ---- From yaml-cpp's events to the tree
// --------------------------------------------------------------------------

class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(int set, std::vector<Problem>& problems) : set_(set), problems_(problems) {}

  YamlNode take_root() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (num_documents_++ > 0) stop(mark, "a second document starts here; a config is one document");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    check_properties(mark, "", anchor);
    add_leaf(
        {.kind = YamlNode::Kind::kNull, .text = "null", .position = at(mark), .items = {}, .entries = {}});
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    report(mark, "aliases (*name) are not supported; write the value out");
    add_leaf(
        {.kind = YamlNode::Kind::kInvalid, .text = {}, .position = at(mark), .items = {}, .entries = {}});
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    const bool is_valid = check_properties(mark, tag, anchor);
    add_leaf({.kind = is_valid ? YamlNode::Kind::kScalar : YamlNode::Kind::kInvalid,
              .quoted = tag == "!",
              .text = text,
              .position = at(mark),
              .items = {},
              .entries = {}});
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::kSequence);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::kMap);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {
    YamlNode node;
    bool is_invalid = false;
    bool awaits_value = false;   // a map's key was read
    bool ignores_value = false;  // the key was a duplicate
    std::unordered_map<std::string, Position> seen = {};
  };

  Position at(const YAML::Mark& mark) const { return {set_, mark.line + 1, mark.column + 1}; }

  [[noreturn]] void stop(const YAML::Mark& mark, std::string message) {
    throw Stop{{at(mark), std::move(message)}};
  }

  void report(const YAML::Mark& mark, std::string message) {
    problems_.push_back({at(mark), std::move(message)});
    if (++num_reported_ == 20) throw Stop{{at(mark), "too many errors, the rest of the file was not read"}};
  }

  /// Anchors and tags. The tag "?" is none, "!" a quoted scalar.
  bool check_properties(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (++num_nodes_ > YamlLimits::kMaxNodes) {
      stop(mark, fmt::format("more than {} values in one config", YamlLimits::kMaxNodes));
    }
    const bool has_tag = !tag.empty() && tag != "?" && tag != "!";
    if (anchor != 0) report(mark, "anchors (&name) are not supported; write the value out where it is used");
    if (has_tag)
      report(mark, fmt::format("the tag {} is not supported; write the plain value", printable(tag, 60)));
    return anchor == 0 && !has_tag;
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YamlNode::Kind kind) {
    const bool is_valid = check_properties(mark, tag, anchor);
    if (int(frames_.size()) == YamlLimits::kMaxDepth) {
      stop(mark, fmt::format("nested deeper than {} levels", YamlLimits::kMaxDepth));
    }
    if (awaits_key()) stop(mark, "a list or map cannot be a key; keys are plain words followed by ':'");
    frames_.push_back({.node = {.kind = kind, .text = {}, .position = at(mark), .items = {}, .entries = {}},
                       .is_invalid = !is_valid});
  }

  void close() {
    Frame frame = std::move(frames_.back());
    frames_.pop_back();
    if (frame.is_invalid) frame.node.kind = YamlNode::Kind::kInvalid;
    add_value(std::move(frame.node));
  }

  bool awaits_key() const {
    return !frames_.empty() && frames_.back().node.kind == YamlNode::Kind::kMap &&
           !frames_.back().awaits_value;
  }

  void add_leaf(YamlNode leaf) {
    if (awaits_key()) {
      add_key(leaf);
    } else {
      add_value(std::move(leaf));
    }
  }

  void add_key(const YamlNode& key) {
    Frame& frame = frames_.back();
    const YAML::Mark mark = mark_of(key.position);
    if (key.kind == YamlNode::Kind::kScalar && key.text == "<<" && !key.quoted) {
      report(mark, "merge keys (<<) are not supported; write the keys out");
      frame.ignores_value = true;
    } else if (const auto [first, is_new] = frame.seen.try_emplace(key.text, key.position); !is_new) {
      report(mark, fmt::format("the key \"{}\" is there twice, first in line {}; remove one",
                               printable(key.text), first->second.line));
      frame.ignores_value = true;
    } else {
      frame.ignores_value = false;
      frame.node.entries.push_back({key.text, key.position, {}});
    }
    frame.awaits_value = true;
  }

  void add_value(YamlNode value) {
    if (frames_.empty()) {
      root_ = std::move(value);
      return;
    }
    Frame& frame = frames_.back();
    if (frame.node.kind == YamlNode::Kind::kSequence) {
      frame.node.items.push_back(std::move(value));
      return;
    }
    if (!frame.ignores_value) frame.node.entries.back().value = std::move(value);
    frame.awaits_value = false;
  }

  static YAML::Mark mark_of(const Position& position) {
    YAML::Mark mark;
    mark.line = position.line - 1;
    mark.column = position.column - 1;
    return mark;
  }

  int set_;
  std::vector<Problem>& problems_;
  YamlNode root_;
  std::vector<Frame> frames_;
  int num_documents_ = 0;
  int num_nodes_ = 0;
  int num_reported_ = 0;
};

}  // namespace

namespace {

/// yaml-cpp's words for the mistakes that people make, in ours.
std::string explain(const std::string& message) {
  if (message == "illegal map value")
    return "a ':' where none can be; check the indentation, or quote a text with ': ' in it";
  if (message == "end of map flow not found") return "a '{' without its '}'";
  if (message == "end of sequence flow not found") return "a '[' without its ']'";
  if (message == "illegal flow end") return "a ']' or '}' that closes nothing";
  if (message == "unknown token") return "a character that cannot start a value; quote the text";
  return message;
}

}  // namespace

YamlNode parse_yaml(std::string_view text, int set, std::vector<Problem>& problems) {
  try {
    Screen(text, set).check();
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    TreeBuilder builder(set, problems);
    while (parser.HandleNextDocument(builder)) {
    }
    return builder.take_root();
  } catch (const Stop& stopped) {
    problems.push_back(stopped.problem);
  } catch (const YAML::Exception& error) {
    problems.push_back({{set, error.mark.line + 1, error.mark.column + 1},
                        fmt::format("not valid YAML: {}", printable(explain(error.msg)))});
  }
  return {.kind = YamlNode::Kind::kInvalid, .text = {}, .position = {set, 1, 1}, .items = {}, .entries = {}};
}

}  // namespace phalanx::core
