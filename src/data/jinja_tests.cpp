#include <map>

#include "data/jinja_library.h"
#include "data/jinja_text.h"

namespace phalanx::data::jinja {

namespace {

using Table = std::map<std::string_view, TestFunction>;

const Value& argument(const Arguments& arguments, std::string_view test) {
  if (arguments.positional.size() != 1 || !arguments.named.empty())
    fail(ErrorKind::kType, "the test '{}' needs one argument", test);
  return arguments.positional[0];
}

template <bool (*Predicate)(const Value&)>
bool plain(Interpreter&, const Value& input, const Arguments& arguments) {
  if (!arguments.positional.empty() || !arguments.named.empty())
    fail(ErrorKind::kType, "this test takes no argument");
  return Predicate(input);
}

int64_t integer(const Value& value, std::string_view test) {
  if (!value.is_int() && !value.is_bool())
    fail(ErrorKind::kType, "the test '{}' of a value of type {}", test, type_name(value));
  return value.integer();
}

bool is_defined(const Value& v) {
  return !v.is_undefined();
}
bool is_undefined(const Value& v) {
  return v.is_undefined();
}
bool is_none(const Value& v) {
  return v.is_none();
}
bool is_boolean(const Value& v) {
  return v.is_bool();
}
bool is_true(const Value& v) {
  return v.is_bool() && v.boolean();
}
bool is_false(const Value& v) {
  return v.is_bool() && !v.boolean();
}
bool is_string(const Value& v) {
  return v.is_text();
}
bool is_number(const Value& v) {
  return v.is_number();
}
bool is_integer(const Value& v) {
  return v.is_int();
}
bool is_float(const Value& v) {
  return v.is_double();
}
bool is_mapping(const Value& v) {
  return v.is_dict();
}
bool is_iterable(const Value& v) {
  return v.is_text() || v.is_list() || v.is_dict() || v.is_undefined() ||
         v.get_if<std::shared_ptr<Loop>>() != nullptr;
}
bool is_sequence(const Value& v) {
  return v.is_text() || v.is_list() || v.is_dict() || v.is_undefined();
}
bool is_callable(const Value& v) {
  return v.get_if<std::shared_ptr<const Callable>>() != nullptr || v.is_undefined();
}
bool is_escaped(const Value& v) {
  return v.is_safe();
}
bool is_odd(const Value& v) {
  return integer(v, "odd") % 2 != 0;
}
bool is_even(const Value& v) {
  return integer(v, "even") % 2 == 0;
}
bool has_letters(const std::string& text) {
  return upper(text) != lower(text);
}
bool is_lower(const Value& v) {
  return v.is_text() && has_letters(v.text()) && lower(v.text()) == v.text();
}
bool is_upper(const Value& v) {
  return v.is_text() && has_letters(v.text()) && upper(v.text()) == v.text();
}

bool test_equal(Interpreter&, const Value& v, const Arguments& a) {
  return equal(v, argument(a, "equalto"));
}
bool test_not_equal(Interpreter&, const Value& v, const Arguments& a) {
  return !equal(v, argument(a, "ne"));
}
bool test_less(Interpreter&, const Value& v, const Arguments& a) {
  return less(v, argument(a, "lt"));
}
bool test_greater(Interpreter&, const Value& v, const Arguments& a) {
  return less(argument(a, "gt"), v);
}
bool test_less_equal(Interpreter&, const Value& v, const Arguments& a) {
  return !less(argument(a, "le"), v);
}
bool test_greater_equal(Interpreter&, const Value& v, const Arguments& a) {
  return !less(v, argument(a, "ge"));
}
bool test_in(Interpreter& interpreter, const Value& v, const Arguments& a) {
  return contains(interpreter, argument(a, "in"), v);
}
bool test_same(Interpreter&, const Value& v, const Arguments& a) {
  const Value& other = argument(a, "sameas");
  return v.storage().index() == other.storage().index() && equal(v, other);
}
bool test_divisible(Interpreter&, const Value& v, const Arguments& a) {
  const int64_t by = integer(argument(a, "divisibleby"), "divisibleby");
  if (by == 0) fail(ErrorKind::kArithmetic, "division by zero");
  return by == -1 || integer(v, "divisibleby") % by == 0;
}
bool test_filter(Interpreter&, const Value& v, const Arguments&) {
  return find_filter(str(v)) != nullptr;
}
bool test_test(Interpreter&, const Value& v, const Arguments&) {
  return find_test(str(v)) != nullptr;
}

const Table& tests() {
  static const Table table = {{"defined", plain<is_defined>},
                              {"undefined", plain<is_undefined>},
                              {"none", plain<is_none>},
                              {"boolean", plain<is_boolean>},
                              {"true", plain<is_true>},
                              {"false", plain<is_false>},
                              {"string", plain<is_string>},
                              {"number", plain<is_number>},
                              {"integer", plain<is_integer>},
                              {"float", plain<is_float>},
                              {"mapping", plain<is_mapping>},
                              {"iterable", plain<is_iterable>},
                              {"sequence", plain<is_sequence>},
                              {"callable", plain<is_callable>},
                              {"escaped", plain<is_escaped>},
                              {"odd", plain<is_odd>},
                              {"even", plain<is_even>},
                              {"lower", plain<is_lower>},
                              {"upper", plain<is_upper>},
                              {"eq", test_equal},
                              {"equalto", test_equal},
                              {"ne", test_not_equal},
                              {"lt", test_less},
                              {"lessthan", test_less},
                              {"gt", test_greater},
                              {"greaterthan", test_greater},
                              {"le", test_less_equal},
                              {"ge", test_greater_equal},
                              {"in", test_in},
                              {"sameas", test_same},
                              {"divisibleby", test_divisible},
                              {"filter", test_filter},
                              {"test", test_test}};
  return table;
}

}  // namespace

TestFunction find_test(std::string_view name) {
  const auto found = tests().find(name);
  return found == tests().end() ? nullptr : found->second;
}

std::vector<std::string> test_names() {
  std::vector<std::string> names;
  for (const auto& entry : tests()) names.emplace_back(entry.first);
  return names;
}

}  // namespace phalanx::data::jinja
