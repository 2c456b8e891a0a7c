#include "core/error.h"
#include "data/columnar_records.h"

namespace phalanx::data {

std::unique_ptr<RecordReader> open_columnar(const std::string& path) {
  core::fail(core::ExitCode::kBadInput,
             "{}: this build reads no columns of Parquet and Arrow; build it with the pyarrow wheel unpacked "
             "in third_party/arrow "
             "(docs/data.md), or write the rows as JSON lines (in Python: "
             "pandas.read_parquet(FILE).to_json(\"FILE.jsonl\", orient=\"records\", lines=True))",
             path);
}

}  // namespace phalanx::data
