#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace phalanx::formats {

/// Value types of GGUF metadata, under their numbers in the file.
enum class GgufType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

std::string_view gguf_type_name(GgufType type);  ///< "u8", "string", ...
size_t gguf_scalar_bytes(GgufType type);         ///< 0 for strings and arrays

/// Scalars and strings of one type; strings point into the mapped file.
struct GgufArray {
  GgufType element_type;
  uint64_t count;
  std::span<const std::byte> bytes;       ///< elements of a fixed size, unaligned
  std::vector<std::string_view> strings;  ///< when element_type is kString
};

struct GgufValue {
  GgufType type;
  uint64_t offset_bytes;  ///< of the value in the file
  std::variant<int64_t, uint64_t, double, bool, std::string_view, GgufArray> value;
};

/// The metadata of a GGUF file. Getters without a default throw FormatError kMissing when the key is absent;
/// all throw kType when it has another type, naming file, key, the type found and the type wanted.
class GgufMetadata {
 public:
  explicit GgufMetadata(std::filesystem::path path) : path_(std::move(path)) {}

  bool has(std::string_view key) const { return values_.contains(key); }
  const GgufValue* find(std::string_view key) const;
  const std::map<std::string, GgufValue, std::less<>>& values() const { return values_; }

  int64_t integer(std::string_view key) const;  ///< any integer type
  double number(std::string_view key) const;    ///< f32, f64 or an integer
  bool boolean(std::string_view key) const;
  std::string_view text(std::string_view key) const;
  std::vector<std::string_view> texts(std::string_view key) const;  ///< array of strings
  std::vector<int64_t> integers(std::string_view key) const;        ///< array of any integer type
  std::vector<float> floats(std::string_view key) const;            ///< array of f32 or f64

  std::optional<int64_t> find_integer(std::string_view key) const;
  std::optional<double> find_number(std::string_view key) const;
  std::optional<bool> find_boolean(std::string_view key) const;
  std::optional<std::string_view> find_text(std::string_view key) const;

  void insert(std::string key, GgufValue value) { values_.emplace(std::move(key), std::move(value)); }
  const std::filesystem::path& path() const { return path_; }

 private:
  const GgufValue& require(std::string_view key) const;
  const GgufArray& require_array(std::string_view key, std::string_view wanted) const;
  [[noreturn]] void wrong_type(std::string_view key, const GgufValue& found, std::string_view wanted) const;

  std::filesystem::path path_;
  std::map<std::string, GgufValue, std::less<>> values_;
};

}  // namespace phalanx::formats
