#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/record_reader.h"

namespace phalanx::data {

/// The texts of one file, read in bounded memory. Records give the text they hold: {"text"} itself, prompts,
/// completions and steps, the contents and the reasoning of messages. A file of plain text gives its lines,
/// each with its line end.
class Corpus {
 public:
  using UseText = std::function<void(std::string_view)>;

  /// Kinds of files as open_records. @throws core::Error (65), as for_each_text and next, naming the file.
  static std::unique_ptr<Corpus> open(const std::string& path);
  explicit Corpus(std::string path) : path_(std::move(path)) {}
  virtual ~Corpus() = default;

  /// The next record, or some whole lines; false at the end.
  virtual bool next(RawRecord& part) = 0;
  /// Its texts. Safe to call from several threads. @throws core::Error (65) naming the line.
  void for_each_text(const RawRecord& part, const UseText& use) const;

 protected:
  const std::string& path() const { return path_; }

 private:
  virtual void use_texts(const RawRecord& part, const UseText& use) const = 0;
  std::string path_;
};

}  // namespace phalanx::data
