#include "data/columnar_records.h"

#include <gtest/gtest.h>

#include "data_test_util.h"

namespace phalanx::data {
namespace {

std::vector<std::string> rows_of(const std::string& path) {
  std::vector<std::string> rows;
  const auto reader = open_records(path);
  for (RawRecord row; reader->next(row);)
    rows.push_back(row.problem.empty() ? jinja::repr(reader->parse(row)) : "! " + row.problem);
  return rows;
}

#ifdef PHALANX_ARROW_MODULE

// What tests/data/golden/make_columns_golden.py wrote, by its rows.
const std::vector<std::string> kRows = {
    "{'messages': [{'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': 'caf\u00e9', "
    "'weight': 0}], 'n': 1, 'x': 0.5, "
    "'ok': True, 'day': '2024-02-29', 'kind': 'a', 'ids': [1, 2]}",
    "{'messages': [{'role': 'user', 'content': ''}], 'n': -9223372036854775808, 'ok': False, 'kind': 'b', "
    "'ids': []}",
    "! a number of the row is nan, which is no value of a record",
};

TEST(ColumnarRecords, RowsOfParquetAreRecords) {
  EXPECT_EQ(rows_of(golden_path("columns.parquet")), kRows);
  EXPECT_EQ(open_records(golden_path("columns.parquet"))->container(), "Parquet");
}

TEST(ColumnarRecords, RowsOfArrowFilesAndStreamsAreRecords) {
  EXPECT_EQ(rows_of(golden_path("columns_file.arrow")), kRows);
  EXPECT_EQ(rows_of(golden_path("columns_stream.arrow")), kRows);
}

TEST(ColumnarRecords, BytesInAColumnAreRefused) {
  EXPECT_NE(
      error_of([] { rows_of(golden_path("columns_bytes.parquet")); }).find("column \"image\" holds bytes"),
      std::string::npos);
}

TEST(ColumnarRecords, DamagedFilesAreRefusedAndDoNoHarm) {
  const TemporaryFolder folder;
  for (const char* name : {"columns.parquet", "columns_file.arrow", "columns_stream.arrow"}) {
    const std::string whole = read_text(golden_path(name));
    const std::string ending = name + std::string(name).find('.');
    int num_refused = 0;
    for (size_t size = 0; size < whole.size(); size += 29) {
      const std::string path = folder.write("cut" + ending, whole.substr(0, size));
      try {
        rows_of(path);
      } catch (const core::Error& error) {
        ++num_refused;
        EXPECT_EQ(std::string(error.what()).find_first_of("\n\x1b"), std::string::npos);
      }
    }
    EXPECT_GT(num_refused, 10) << name;
    for (size_t at = 0; at < whole.size(); at += 11) {
      std::string bytes = whole;
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << at % 8));
      const std::string path = folder.write("changed" + ending, bytes);
      try {
        rows_of(path);
      } catch (const core::Error&) {
      }
    }
  }
}

#else

TEST(ColumnarRecords, AreRefusedWithAWayOutWhereArrowIsNotBuiltIn) {
  const TemporaryFolder folder;
  for (const char* name : {"a.parquet", "a.arrow"}) {
    const std::string message = error_of([&] { rows_of(folder.write(name, "PAR1")); });
    EXPECT_NE(message.find("write the rows as JSON lines"), std::string::npos) << message;
  }
}

#endif

}  // namespace
}  // namespace phalanx::data
