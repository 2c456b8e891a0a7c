#pragma once
#include <memory>
#include <string>

#include "data/record_reader.h"
#include "data/text_stream.h"

namespace phalanx::data {

/// One JSON array whose items are the records. It is read item by item, each of at most 64 MiB; what is wrong
/// inside of an item is that record's problem, what is wrong between items ends the file.
class JsonArray : public RecordReader {
 public:
  explicit JsonArray(const std::string& path);
  std::string_view container() const override { return "JSON array"; }
  bool next(RawRecord& item) override;
  jinja::Value parse(const RawRecord& item) const override;

 private:
  char peek();  // the next character that is no blank; 0 at the end of the file
  void consume(size_t bytes);
  void read_item(RawRecord& item);
  [[noreturn]] void broken(const std::string& what) const;

  std::string path_;
  TextStream stream_;
  int64_t line_ = 1;
  bool is_first_ = true, is_done_ = false;
};

/// A .json file: an array where it begins with [, else JSON lines.
std::unique_ptr<RecordReader> open_json(const std::string& path);

}  // namespace phalanx::data
