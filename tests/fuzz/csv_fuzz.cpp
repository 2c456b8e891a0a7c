#include "data/csv_records.h"

#include "fuzz/fuzz.h"
#include "fuzz/use_records.h"

namespace phalanx::fuzz {
namespace {

void fuzz_csv(std::string_view input) {
  const std::string path = as_file(input, "input.csv");
  accepts([&] {
    data::CsvRecords reader(path, ',');
    use_records(reader);
  });
}

}  // namespace
}  // namespace phalanx::fuzz

PHALANX_FUZZ_TARGET(csv, phalanx::fuzz::fuzz_csv)
