// The module phalanx_arrow.so: rows of columnar files as JSON. It shares no code with the program that loads
// it.
#include "data/columns_arrow.h"

#include <arrow/array.h>
#include <arrow/io/file.h>
#include <arrow/ipc/reader.h>
#include <arrow/record_batch.h>
#include <arrow/scalar.h>
#include <arrow/type.h>
#include <parquet/arrow/reader.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>

namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kRowsPerBatch = 256;

/// The file, or this row, cannot be read.
struct ColumnsError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct RowError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

void check(const arrow::Status& status) {
  if (!status.ok()) throw ColumnsError(status.message());
}

template <typename T>
T value_of(arrow::Result<T> result) {
  check(result.status());
  return std::move(result).ValueUnsafe();
}

/// Text cannot hold bytes, and no record has them.
bool has_binary(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::BINARY:
    case arrow::Type::LARGE_BINARY:
    case arrow::Type::BINARY_VIEW:
    case arrow::Type::FIXED_SIZE_BINARY:
      return true;
    case arrow::Type::DICTIONARY:
      return has_binary(*static_cast<const arrow::DictionaryType&>(type).value_type());
    default:
      for (const auto& field : type.fields())
        if (has_binary(*field->type())) return true;
      return false;
  }
}

void check_schema(const arrow::Schema& schema) {
  for (const auto& field : schema.fields()) {
    if (!has_binary(*field->type())) continue;
    throw ColumnsError("column \"" + field->name() + "\" holds bytes (" + field->type()->ToString() +
                       "), which no record can; write the file without it");
  }
}

/// Nothing for a null.
std::optional<Json> to_record_json(const arrow::Scalar& scalar);

Json list_json(const arrow::Array& items) {
  Json list = Json::array();
  for (int64_t i = 0; i < items.length(); ++i)
    list.push_back(to_record_json(*value_of(items.GetScalar(i))).value_or(Json()));
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
  if (std::isfinite(value)) return Json(value);
  throw RowError("a number of the row is " + std::string(std::isnan(value) ? "nan" : "infinite") +
                 ", which is no value of a record");
}

std::optional<Json> to_record_json(const arrow::Scalar& scalar) {
  if (!scalar.is_valid) return std::nullopt;
  switch (scalar.type->id()) {
    case arrow::Type::NA:
      return std::nullopt;
    case arrow::Type::BOOL:
      return number_json<arrow::BooleanType>(scalar);
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
    case arrow::Type::DICTIONARY:
      return to_record_json(*value_of(static_cast<const arrow::DictionaryScalar&>(scalar).GetEncodedValue()));
    default:  // dates, times, decimals
      return Json(scalar.ToString());
  }
}

/// Rows of one batch after the other.
class Rows {
 public:
  virtual ~Rows() = default;

  /// False at the end. @throws ColumnsError; RowError, behind which the next row can be read.
  bool next(std::string& text) {
    while (batch_ == nullptr || row_ == batch_->num_rows()) {
      batch_ = next_batch();
      row_ = 0;
      if (batch_ == nullptr) return false;
      check(batch_->ValidateFull());  // offsets and UTF-8 of foreign bytes
    }
    const int64_t row = row_++;
    Json record = Json::object();
    for (int column = 0; column < batch_->num_columns(); ++column) {
      const auto scalar = value_of(batch_->column(column)->GetScalar(row));
      if (auto value = to_record_json(*scalar)) record[batch_->column_name(column)] = std::move(*value);
    }
    text = record.dump();
    return true;
  }

 private:
  virtual std::shared_ptr<arrow::RecordBatch> next_batch() = 0;  // null at the end

  std::shared_ptr<arrow::RecordBatch> batch_;
  int64_t row_ = 0;
};

class ParquetRows : public Rows {
 public:
  explicit ParquetRows(const std::string& path) {
    parquet::arrow::FileReaderBuilder builder;
    check(builder.OpenFile(path));
    parquet::ArrowReaderProperties properties(/*use_threads=*/false);
    properties.set_batch_size(kRowsPerBatch);
    properties.set_pre_buffer(false);
    builder.properties(properties);
    file_ = value_of(builder.Build());
    batches_ = value_of(file_->GetRecordBatchReader());
    check_schema(*batches_->schema());
  }

 private:
  std::shared_ptr<arrow::RecordBatch> next_batch() override { return value_of(batches_->Next()); }

  std::unique_ptr<parquet::arrow::FileReader> file_;
  std::unique_ptr<arrow::RecordBatchReader> batches_;
};

/// The file format has an index of its batches, the stream format has none; the first bytes tell them apart.
class ArrowRows : public Rows {
 public:
  explicit ArrowRows(const std::string& path) {
    const auto source = value_of(arrow::io::ReadableFile::Open(path));
    const auto magic = value_of(source->ReadAt(0, 6));
    check(source->Seek(0));  // reading at a place leaves none
    if (magic->ToString() == "ARROW1") {
      file_ = value_of(arrow::ipc::RecordBatchFileReader::Open(source));
      check_schema(*file_->schema());
    } else {
      stream_ = value_of(arrow::ipc::RecordBatchStreamReader::Open(source));
      check_schema(*stream_->schema());
    }
  }

 private:
  std::shared_ptr<arrow::RecordBatch> next_batch() override {
    if (stream_ != nullptr) return value_of(stream_->Next());
    if (index_ == file_->num_record_batches()) return nullptr;
    return value_of(file_->ReadRecordBatch(index_++));
  }

  std::shared_ptr<arrow::ipc::RecordBatchFileReader> file_;
  std::shared_ptr<arrow::ipc::RecordBatchStreamReader> stream_;
  int index_ = 0;
};

struct OpenColumns {
  std::unique_ptr<Rows> rows;
  std::string text;
};

void say(const char* what, char* error, size_t error_bytes) {
  const size_t size = std::min(std::strlen(what), error_bytes - 1);
  std::memcpy(error, what, size);
  error[size] = 0;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) void* phx_columns_open(const char* path, int is_parquet, char* error,
                                                              size_t error_bytes) {
  try {
    auto columns = std::make_unique<OpenColumns>();
    if (is_parquet != 0)
      columns->rows = std::make_unique<ParquetRows>(path);
    else
      columns->rows = std::make_unique<ArrowRows>(path);
    return columns.release();
  } catch (const std::exception& failure) {  // ours, and what Parquet throws
    say(failure.what(), error, error_bytes);
    return nullptr;
  }
}

__attribute__((visibility("default"))) int phx_columns_next(void* reader, const char** text, size_t* size,
                                                            char* error, size_t error_bytes) {
  auto& columns = *static_cast<OpenColumns*>(reader);
  try {
    if (!columns.rows->next(columns.text)) return 0;
    *text = columns.text.data();
    *size = columns.text.size();
    return 1;
  } catch (const RowError& failure) {
    say(failure.what(), error, error_bytes);
    return 2;
  } catch (const std::exception& failure) {
    say(failure.what(), error, error_bytes);
    return -1;
  }
}

__attribute__((visibility("default"))) void phx_columns_close(void* reader) {
  delete static_cast<OpenColumns*>(reader);
}
}
