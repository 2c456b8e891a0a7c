#pragma once
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "data/jinja_interpreter.h"

namespace phalanx::data::jinja {

/// Everything that a template can reach besides the language itself. The tables are complete: what is not in
/// them does not exist for a template.
using FilterFunction = Value (*)(Interpreter&, const Value& input, const Arguments&);
using TestFunction = bool (*)(Interpreter&, const Value& input, const Arguments&);
using MethodFunction = Value (*)(Interpreter&, const Value& object, const Arguments&);

FilterFunction find_filter(std::string_view name);                        ///< null: there is none
TestFunction find_test(std::string_view name);                            ///< null: there is none
MethodFunction find_method(const Value& object, std::string_view name);   ///< null: there is none
const Value* find_function(std::string_view name);                        ///< range, dict, namespace, ...
bool is_mutating_method(const Value& object, std::string_view name);      ///< append, update, ...: refused
std::vector<std::string> filter_names(), test_names(), function_names();  ///< sorted

Value loop_attribute(const std::shared_ptr<Loop>& loop, const std::string& name);

/// Binary operators with Python's meaning; int64 overflow and division by zero are kArithmetic.
Value apply_operator(Interpreter& interpreter, Expression::Kind kind, const Value& left, const Value& right);
Value negate(const Value& value);
bool contains(Interpreter& interpreter, const Value& container, const Value& item);
Value slice(Interpreter& interpreter, const Value& value, const Value& begin, const Value& end,
            const Value& step);

std::string to_json(const Value& value, int64_t indent, bool ensure_ascii, bool sort_keys,
                    std::string_view item_separator, std::string_view key_separator);
/// json.dumps(value, ensure_ascii=False)
std::string to_json(const Value& value);

/// The arguments of a call by parameter name, positional ones first.
class Bound {
 public:
  /// @throws TemplateError kType for too many or unknown arguments
  Bound(std::string_view function, const Arguments& arguments,
        std::initializer_list<std::string_view> parameters);
  const Value* get(size_t i) const { return values_[i]; }
  bool has(size_t i) const { return values_[i] != nullptr && !values_[i]->is_none(); }
  const Value& require(size_t i) const;
  const std::string& text(size_t i) const;
  std::string text_or(size_t i, std::string fallback) const;
  int64_t integer_or(size_t i, int64_t fallback) const;
  bool truth_or(size_t i, bool fallback) const;

 private:
  std::string function_;
  std::vector<std::string_view> parameters_;
  std::vector<const Value*> values_;
};

}  // namespace phalanx::data::jinja
