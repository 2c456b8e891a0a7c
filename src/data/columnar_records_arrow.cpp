#include <arrow/array.h>
#include <arrow/io/file.h>
#include <arrow/ipc/reader.h>
#include <arrow/record_batch.h>
#include <arrow/scalar.h>
#include <arrow/type.h>
#include <parquet/arrow/reader.h>

#include <cmath>
#include <optional>

#include "core/error.h"
#include "core/json.h"
#include "data/columnar_records.h"
#include "data/json_value.h"

namespace phalanx::data {
namespace {

using core::Json;

constexpr int64_t kRowsPerBatch = 256;

[[noreturn]] void fail_columns(const std::string& path, const std::string& what) {
  core::fail(core::ExitCode::kBadInput, "{}: {}", path, core::printable(what, 300));
}

template <typename T>
T value_or_fail(arrow::Result<T> result, const std::string& path) {
  if (!result.ok()) fail_columns(path, result.status().message());
  return std::move(result).ValueUnsafe();
}

/// Text cannot hold bytes, and no record has them.
const arrow::DataType* binary_inside(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::BINARY:
    case arrow::Type::LARGE_BINARY:
    case arrow::Type::BINARY_VIEW:
    case arrow::Type::FIXED_SIZE_BINARY:
      return &type;
    case arrow::Type::DICTIONARY:
      return binary_inside(*static_cast<const arrow::DictionaryType&>(type).value_type());
    default:
      for (const auto& field : type.fields())
        if (const arrow::DataType* found = binary_inside(*field->type())) return found;
      return nullptr;
  }
}

void check_schema(const arrow::Schema& schema, const std::string& path) {
  for (const auto& field : schema.fields()) {
    if (binary_inside(*field->type()) == nullptr) continue;
    fail_columns(path,
                 fmt::format("column \"{}\" holds bytes ({}), which no record can; write the file without it",
                             field->name(), field->type()->ToString()));
  }
}

/// Nothing for a null.
std::optional<Json> to_record_json(const arrow::Scalar& scalar);

Json list_json(const arrow::Array& items) {
  Json list = Json::array();
  for (int64_t i = 0; i < items.length(); ++i) {
    const auto item = items.GetScalar(i);
    if (!item.ok()) core::fail(core::ExitCode::kBadInput, "{}", core::printable(item.status().message()));
    list.push_back(to_record_json(**item).value_or(Json()));
  }
  return list;
}

Json struct_json(const arrow::StructScalar& scalar) {
  Json object = Json::object();
  const auto& fields = scalar.type->fields();
  for (size_t i = 0; i < fields.size(); ++i)
    if (auto value = to_record_json(*scalar.value[i])) object[fields[i]->name()] = std::move(*value);
  return object;
}

template <typename Type>
Json number_json(const arrow::Scalar& scalar) {
  return Json(static_cast<const typename arrow::TypeTraits<Type>::ScalarType&>(scalar).value);
}

Json float_json(double value) {
  if (!std::isfinite(value))
    core::fail(core::ExitCode::kBadInput, "a number of the row is {}, which is no value of a record", value);
  return Json(value);
}

std::optional<Json> to_record_json(const arrow::Scalar& scalar) {
  if (!scalar.is_valid) return std::nullopt;
  switch (scalar.type->id()) {
    case arrow::Type::NA:
      return std::nullopt;
    case arrow::Type::BOOL:
      return Json(static_cast<const arrow::BooleanScalar&>(scalar).value);
    case arrow::Type::INT8:
      return number_json<arrow::Int8Type>(scalar);
    case arrow::Type::INT16:
      return number_json<arrow::Int16Type>(scalar);
    case arrow::Type::INT32:
      return number_json<arrow::Int32Type>(scalar);
    case arrow::Type::INT64:
      return number_json<arrow::Int64Type>(scalar);
    case arrow::Type::UINT8:
      return number_json<arrow::UInt8Type>(scalar);
    case arrow::Type::UINT16:
      return number_json<arrow::UInt16Type>(scalar);
    case arrow::Type::UINT32:
      return number_json<arrow::UInt32Type>(scalar);
    case arrow::Type::UINT64:
      return number_json<arrow::UInt64Type>(scalar);
    case arrow::Type::FLOAT:
      return float_json(static_cast<const arrow::FloatScalar&>(scalar).value);
    case arrow::Type::DOUBLE:
      return float_json(static_cast<const arrow::DoubleScalar&>(scalar).value);
    case arrow::Type::STRING:
    case arrow::Type::LARGE_STRING:
    case arrow::Type::STRING_VIEW:
      return Json(std::string(static_cast<const arrow::BaseBinaryScalar&>(scalar).view()));
    case arrow::Type::LIST:
    case arrow::Type::LARGE_LIST:
    case arrow::Type::LIST_VIEW:
    case arrow::Type::LARGE_LIST_VIEW:
    case arrow::Type::FIXED_SIZE_LIST:
    case arrow::Type::MAP:
      return list_json(*static_cast<const arrow::BaseListScalar&>(scalar).value);
    case arrow::Type::STRUCT:
      return struct_json(static_cast<const arrow::StructScalar&>(scalar));
    case arrow::Type::DICTIONARY: {
      const auto value = static_cast<const arrow::DictionaryScalar&>(scalar).GetEncodedValue();
      if (!value.ok()) core::fail(core::ExitCode::kBadInput, "{}", core::printable(value.status().message()));
      return to_record_json(**value);
    }
    default:  // dates, times, decimals
      return Json(scalar.ToString());
  }
}

class ColumnarRecords : public RecordReader {
 public:
  ColumnarRecords(std::string path, std::string_view container)
      : path_(std::move(path)), container_(container) {}

  std::string_view container() const override { return container_; }

  bool next(RawRecord& row) override {
    while (batch_ == nullptr || row_ == batch_->num_rows()) {
      batch_ = checked_batch();
      row_ = 0;
      if (batch_ == nullptr) return false;
    }
    row = RawRecord{.text = {}, .line = ++number_, .byte = 0, .problem = {}};
    try {
      row.text = row_text();
      if (row.text.size() > kMaxRecordBytes) row.problem = "the row is longer than 64 MiB";
    } catch (const core::Error& error) {
      row.problem = error.what();
    }
    ++row_;
    return true;
  }

  jinja::Value parse(const RawRecord& row) const override { return parse_record_json(row.text); }

 protected:
  virtual std::shared_ptr<arrow::RecordBatch> next_batch() = 0;  ///< null at the end
  const std::string& path() const { return path_; }

 private:
  std::shared_ptr<arrow::RecordBatch> checked_batch() {
    std::shared_ptr<arrow::RecordBatch> batch;
    try {
      batch = next_batch();
    } catch (const core::Error&) {
      throw;
    } catch (const std::exception& error) {  // Parquet's own
      fail_columns(path_, error.what());
    }
    if (batch == nullptr) return nullptr;
    const arrow::Status status = batch->ValidateFull();  // offsets and UTF-8 of foreign bytes
    if (!status.ok()) fail_columns(path_, status.message());
    return batch;
  }

  std::string row_text() const {
    Json record = Json::object();
    for (int column = 0; column < batch_->num_columns(); ++column) {
      const auto scalar = value_or_fail(batch_->column(column)->GetScalar(row_), path_);
      if (auto value = to_record_json(*scalar)) record[batch_->column_name(column)] = std::move(*value);
    }
    return core::to_text(record);
  }

  std::string path_;
  std::string_view container_;
  std::shared_ptr<arrow::RecordBatch> batch_;
  int64_t row_ = 0, number_ = 0;
};

class ParquetRecords : public ColumnarRecords {
 public:
  explicit ParquetRecords(const std::string& path) : ColumnarRecords(path, "Parquet") {
    parquet::arrow::FileReaderBuilder builder;
    const arrow::Status status = builder.OpenFile(path);
    if (!status.ok()) fail_columns(path, status.message());
    parquet::ArrowReaderProperties properties(/*use_threads=*/false);
    properties.set_batch_size(kRowsPerBatch);
    properties.set_pre_buffer(false);
    builder.properties(properties);
    file_ = value_or_fail(builder.Build(), path);
    batches_ = value_or_fail(file_->GetRecordBatchReader(), path);
    check_schema(*batches_->schema(), path);
  }

 private:
  std::shared_ptr<arrow::RecordBatch> next_batch() override {
    return value_or_fail(batches_->Next(), path());
  }

  std::unique_ptr<parquet::arrow::FileReader> file_;
  std::unique_ptr<arrow::RecordBatchReader> batches_;
};

/// The file format has an index of its batches, the stream format has none; the first bytes tell them apart.
class ArrowRecords : public ColumnarRecords {
 public:
  explicit ArrowRecords(const std::string& path) : ColumnarRecords(path, "Arrow") {
    const auto source = value_or_fail(arrow::io::ReadableFile::Open(path), path);
    const auto magic = value_or_fail(source->ReadAt(0, 6), path);
    if (std::string_view(*magic) == "ARROW1") {
      file_ = value_or_fail(arrow::ipc::RecordBatchFileReader::Open(source), path);
      check_schema(*file_->schema(), path);
    } else {
      stream_ = value_or_fail(arrow::ipc::RecordBatchStreamReader::Open(source), path);
      check_schema(*stream_->schema(), path);
    }
  }

 private:
  std::shared_ptr<arrow::RecordBatch> next_batch() override {
    if (stream_ != nullptr) return value_or_fail(stream_->Next(), path());
    if (index_ == file_->num_record_batches()) return nullptr;
    return value_or_fail(file_->ReadRecordBatch(index_++), path());
  }

  std::shared_ptr<arrow::ipc::RecordBatchFileReader> file_;
  std::shared_ptr<arrow::ipc::RecordBatchStreamReader> stream_;
  int index_ = 0;
};

}  // namespace

std::unique_ptr<RecordReader> open_columnar(const std::string& path) {
  try {
    if (path.ends_with(".parquet")) return std::make_unique<ParquetRecords>(path);
    return std::make_unique<ArrowRecords>(path);
  } catch (const core::Error&) {
    throw;
  } catch (const std::exception& error) {  // Parquet's own
    fail_columns(path, error.what());
  }
}

}  // namespace phalanx::data
