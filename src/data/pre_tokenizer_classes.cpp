#include <cstring>

#include "data/pre_tokenizer_tables.h"

namespace phalanx::data {

ClassTable::ClassTable() {
  for (size_t i = 0; i < kNumClassRanges; ++i) {
    const ClassRange& range = kClassRanges[i];
    std::memset(&classes_[range.begin], range.classes, range.end - range.begin);
  }
}

const ClassTable& ClassTable::get() {
  static const ClassTable table;
  return table;
}

}  // namespace phalanx::data
