#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace phalanx::formats {

/// The keys of a JSON object that somebody else wrote, asked for one by one. Every getter throws FormatError
/// naming file, key, value and what is allowed; a key whose value is null counts as absent. What was never
/// asked for is known afterwards, so that nothing is ignored unnoticed. Copies share that knowledge.
class JsonFields {
 public:
  JsonFields(nlohmann::json object, std::filesystem::path path);  ///< @throws FormatError if it is no object

  const std::filesystem::path& path() const { return path_; }
  bool has(const std::string& key) const;  ///< present and not null; does not count as asked for

  int64_t integer(const std::string& key, int64_t min, int64_t max) const;
  std::optional<int64_t> find_integer(const std::string& key, int64_t min, int64_t max) const;
  double number(const std::string& key, double above, double max) const;  ///< above < value <= max
  std::optional<double> find_number(const std::string& key, double above, double max) const;
  std::optional<bool> find_boolean(const std::string& key) const;
  std::string text(const std::string& key) const;
  std::optional<std::string> find_text(const std::string& key) const;
  std::vector<int64_t> integers(const std::string& key, int64_t min,
                                int64_t max) const;              ///< one or a list; [] if absent
  std::vector<std::string> texts(const std::string& key) const;  ///< a list; [] if absent
  std::optional<JsonFields> find_object(const std::string& key) const;

  const nlohmann::json* raw(const std::string& key) const;  ///< nullptr if absent; the caller checks the type
  bool contains(const std::string& key) const { return object_.contains(key); }  ///< null, too
  std::vector<std::string> keys() const;
  /// Dotted names of the keys, not null, that no getter was asked for.
  std::vector<std::string> unread() const;

  [[noreturn]] void fail_value(const std::string& key, const std::string& allowed) const;

 private:
  JsonFields(nlohmann::json object, std::filesystem::path path, std::string prefix,
             std::shared_ptr<std::set<std::string>> read);
  const nlohmann::json& require(const std::string& key) const;

  nlohmann::json object_;
  std::filesystem::path path_;
  std::string prefix_;  // "" or "rope_parameters."
  std::shared_ptr<std::set<std::string>> read_;
};

}  // namespace phalanx::formats
