#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace phalanx::data::jinja {

class Value;
struct Arguments;

/// Text as Python's str: UTF-8 here, counted in code points where a template counts. `safe` is jinja2's
/// Markup: joined by
/// `+` with plain text, the plain text is HTML-escaped.
struct Text {
  std::shared_ptr<const std::string> bytes;
  bool safe = false;
};

/// How deep and how large a value is with all that it holds; a template can share one list many times, so the
/// size may be astronomical (it saturates) and is asked before anything walks over the value.
struct Extent {
  int depth = 0;
  uint64_t bytes = 16;
  void add(const Extent& part);
};

struct List {
  std::vector<Value> items;
  bool is_tuple = false;
  Extent extent = {};  // set when it becomes a Value
};

class Dict;

/// namespace(): the only mutable value of the language.
struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
};

class Interpreter;
struct Callable {
  std::string name;
  std::function<Value(Interpreter&, const Arguments&)> call;
};

struct Loop;

struct Undefined {
  std::shared_ptr<const std::string> what;  ///< what was looked up, for the message; may be null
};
struct None {};

/// One value of the template language; cheap to copy (text and containers are shared).
class Value {
 public:
  using Storage = std::variant<Undefined, None, bool, int64_t, double, Text, std::shared_ptr<const List>,
                               std::shared_ptr<const Dict>, std::shared_ptr<Namespace>,
                               std::shared_ptr<const Callable>, std::shared_ptr<Loop>>;

  Value() = default;  ///< undefined
  Value(None none) : storage_(none) {}
  Value(Undefined undefined) : storage_(std::move(undefined)) {}
  Value(bool value) : storage_(value) {}
  Value(int value) : storage_(int64_t{value}) {}
  Value(int64_t value) : storage_(value) {}
  Value(double value) : storage_(value) {}
  Value(std::string value, bool safe = false)
      : storage_(Text{std::make_shared<const std::string>(std::move(value)), safe}) {}
  Value(std::string_view value) : Value(std::string(value)) {}
  Value(const char* value) : Value(std::string(value)) {}
  Value(List list);
  Value(std::vector<Value> items) : Value(List{std::move(items), false}) {}
  Value(Dict dict);
  Value(std::shared_ptr<Namespace> value) : storage_(std::move(value)) {}
  Value(std::shared_ptr<const Callable> value) : storage_(std::move(value)) {}
  Value(std::shared_ptr<Loop> value) : storage_(std::move(value)) {}
  template <typename T>
  Value(T*) = delete;  // no pointer becomes a bool

  bool is_undefined() const { return std::holds_alternative<Undefined>(storage_); }
  bool is_none() const { return std::holds_alternative<None>(storage_); }
  bool is_bool() const { return std::holds_alternative<bool>(storage_); }
  bool is_int() const { return std::holds_alternative<int64_t>(storage_); }
  bool is_double() const { return std::holds_alternative<double>(storage_); }
  bool is_number() const { return is_bool() || is_int() || is_double(); }
  bool is_text() const { return std::holds_alternative<Text>(storage_); }
  bool is_safe() const { return is_text() && std::get<Text>(storage_).safe; }
  bool is_list() const { return std::holds_alternative<std::shared_ptr<const List>>(storage_); }
  bool is_dict() const { return std::holds_alternative<std::shared_ptr<const Dict>>(storage_); }

  bool boolean() const { return std::get<bool>(storage_); }
  int64_t integer() const { return is_bool() ? boolean() : std::get<int64_t>(storage_); }
  const std::string& text() const { return *std::get<Text>(storage_).bytes; }
  const List& list() const { return *std::get<std::shared_ptr<const List>>(storage_); }
  const std::vector<Value>& items() const { return list().items; }
  const Dict& dict() const { return *std::get<std::shared_ptr<const Dict>>(storage_); }
  const Storage& storage() const { return storage_; }
  template <typename T>
  const T* get_if() const {
    return std::get_if<T>(&storage_);
  }

 private:
  Storage storage_;
};

/// Insertion-ordered map, immutable once it is shared. Keys are any scalar; text keys are indexed when there
/// are many.
class Dict {
 public:
  void set(const Value& key, Value value);
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  const Value* find(const char* key) const { return find(std::string_view(key)); }
  const std::vector<std::pair<Value, Value>>& items() const { return items_; }
  size_t size() const { return items_.size(); }
  const Extent& extent() const { return extent_; }

 private:
  std::vector<std::pair<Value, Value>> items_;
  Extent extent_;
  std::unordered_map<std::string, size_t> index_;  // text keys, filled once there are more than a few
};

inline Value::Value(Dict dict) : storage_(std::make_shared<const Dict>(std::move(dict))) {}

/// The variable `loop` of a for loop.
struct Loop {
  Value items;  ///< list of what is iterated, after the inline `if`
  int64_t index0 = 0;
  std::vector<Value> changed;  ///< arguments of the last loop.changed(...)
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

Extent extent(const Value& value);
bool truthy(const Value& value);                    ///< Python's bool(value)
bool equal(const Value& left, const Value& right);  ///< Python's ==; never throws
/// Python's < on numbers, text and lists; TemplateError kType for anything else.
bool less(const Value& left, const Value& right);
double to_double(const Value& number);           ///< of bool, int or double
std::string_view type_name(const Value& value);  ///< as Python calls it: "str", "dict", ...
std::string str(const Value& value);             ///< Python's str(): what {{ value }} prints
std::string repr(const Value& value);            ///< Python's repr(): how it prints inside a list
std::string format_double(double value);         ///< Python's repr of a float: 1.0, 1e+20, 1e-07

}  // namespace phalanx::data::jinja
