#include "data/corpus.h"

#include <simdjson.h>

#include <algorithm>

#include "core/error.h"
#include "data/record.h"
#include "data/text_stream.h"

namespace phalanx::data {
namespace {

constexpr size_t kLinesBytes = size_t{256} << 10;  // of plain text in one part

void use_content(const jinja::Value* content, const Corpus::UseText& use) {
  if (content == nullptr) return;
  if (content->is_text()) return use(content->text());
  if (!content->is_list()) return;
  for (const jinja::Value& part : content->items())
    if (part.is_dict()) use_content(part.dict().find("text"), use);
}

void use_record(const Record& record, const Corpus::UseText& use) {
  if (record.kind == Record::Kind::kTokens) {
    core::fail(core::ExitCode::kBadInput,
               "holds token ids, from which no text can be learned; give the text that they were made of");
  }
  for (const std::string* text : {&record.prompt, &record.text})
    if (!text->empty()) use(*text);
  for (const std::string& step : record.steps) use(step);
  for (const Record& answer : record.answers) use_record(answer, use);
  if (!record.messages.is_list()) return;
  for (const jinja::Value& message : record.messages.items()) {
    for (const char* key : {"content", "reasoning_content", "thinking"})
      use_content(message.dict().find(key), use);
  }
}

class RecordCorpus : public Corpus {
 public:
  explicit RecordCorpus(const std::string& path) : Corpus(path), reader_(open_records(path)) {}
  bool next(RawRecord& part) override { return reader_->next(part); }

 private:
  void use_texts(const RawRecord& part, const UseText& use) const override {
    if (!part.problem.empty()) core::fail(core::ExitCode::kBadInput, "{}", part.problem);
    use_record(read_record(reader_->parse(part), "auto"), use);
  }

  std::unique_ptr<RecordReader> reader_;
};

class LineCorpus : public Corpus {
 public:
  explicit LineCorpus(const std::string& path) : Corpus(path), stream_(path) {}

  bool next(RawRecord& part) override {
    size_t end = 0;
    while ((end = end_of_lines()) == 0) {
      if (stream_.at_end() && stream_.window().empty()) return false;
      if (stream_.window().size() > kMaxRecordBytes) {
        core::fail(core::ExitCode::kBadInput,
                   "{}: line {}: longer than 64 MiB; break the text into lines, or write it as JSON lines",
                   path(), line_);
      }
      stream_.fill();
    }
    part = {};
    part.line = line_;
    part.byte = stream_.byte();
    part.text = stream_.window().substr(0, end);
    line_ += std::count(part.text.begin(), part.text.end(), '\n');
    stream_.consume(end);
    return true;
  }

 private:
  /// Where the lines of the next part end in the window; 0: more must be read first.
  size_t end_of_lines() const {
    const std::string_view window = stream_.window();
    if (window.size() < kLinesBytes) return stream_.at_end() ? window.size() : 0;
    const size_t last = window.rfind('\n', kLinesBytes);
    const size_t end = last != std::string_view::npos ? last : window.find('\n', kLinesBytes);
    if (end != std::string_view::npos) return end + 1;
    return stream_.at_end() ? window.size() : 0;
  }

  void use_texts(const RawRecord& part, const UseText& use) const override {
    if (!simdjson::validate_utf8(part.text.data(), part.text.size()))
      core::fail(core::ExitCode::kBadInput, "these lines are not valid UTF-8; convert the file to UTF-8");
    for (std::string_view rest = part.text; !rest.empty();) {
      const size_t end = std::min(rest.find('\n'), rest.size() - 1) + 1;
      use(rest.substr(0, end));
      rest.remove_prefix(end);
    }
  }

  TextStream stream_;
  int64_t line_ = 1;
};

}  // namespace

std::unique_ptr<Corpus> Corpus::open(const std::string& path) {
  std::string_view name = path;
  for (const std::string_view packed : {".gz", ".zst"})
    if (name.ends_with(packed)) name.remove_suffix(packed.size());
  if (name.ends_with(".txt")) return std::make_unique<LineCorpus>(path);
  return std::make_unique<RecordCorpus>(path);
}

void Corpus::for_each_text(const RawRecord& part, const UseText& use) const {
  try {
    use_texts(part, use);
  } catch (const core::Error& error) {
    core::fail(error.code(), "{}: line {}: {}", path_, part.line, error.what());
  }
}

}  // namespace phalanx::data
