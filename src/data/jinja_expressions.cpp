#include <algorithm>

#include "data/jinja_interpreter.h"
#include "data/jinja_library.h"
#include "data/jinja_text.h"

namespace phalanx::data::jinja {

namespace {

using Kind = Expression::Kind;
using Operator = Expression::Operator;

Value undefined(std::string what) {
  return Value(Undefined{std::make_shared<const std::string>(std::move(what))});
}

[[noreturn]] void fail_undefined(const Value& value) {
  const auto* hint = value.get_if<Undefined>();
  fail(ErrorKind::kUndefined, "{} is undefined", hint->what == nullptr ? "a value" : *hint->what);
}

bool compare(Interpreter& interpreter, Operator op, const Value& left, const Value& right) {
  switch (op) {
    case Operator::kEqual:
      return equal(left, right);
    case Operator::kNotEqual:
      return !equal(left, right);
    case Operator::kLess:
      return less(left, right);
    case Operator::kGreater:
      return less(right, left);
    case Operator::kLessEqual:
      return less(left, right) || equal(left, right);
    case Operator::kGreaterEqual:
      return less(right, left) || equal(left, right);
    case Operator::kIn:
      return contains(interpreter, right, left);
    case Operator::kNotIn:
      return !contains(interpreter, right, left);
  }
  return false;
}

/// Walking over shared lists can take far longer than building them.
void charge_walk(Interpreter& interpreter, const Value& left, const Value& right) {
  interpreter.charge_scan(std::min(extent(left).bytes, extent(right).bytes));
}

Value item_at(Interpreter& interpreter, const Value& object, int64_t index) {
  if (object.is_list()) {
    const auto& items = object.items();
    if (index < 0) index += static_cast<int64_t>(items.size());
    if (index >= 0 && index < static_cast<int64_t>(items.size())) return items[static_cast<size_t>(index)];
  } else {
    interpreter.charge_scan(object.text().size());
    const std::u32string characters = to_code_points(object.text());
    if (index < 0) index += static_cast<int64_t>(characters.size());
    if (index >= 0 && index < static_cast<int64_t>(characters.size())) {
      return interpreter.make_text(
          to_utf8(std::u32string_view(characters).substr(static_cast<size_t>(index), 1)), object.is_safe());
    }
  }
  return undefined(fmt::format("item {} of a {}", index, type_name(object)));
}

}  // namespace

Value Interpreter::evaluate(const Expression& expression) {
  charge_steps(1);
  line_ = expression.line;
  if (++frames_ > kMaxFrames) fail(ErrorKind::kDepth, "nested deeper than {} evaluations", kMaxFrames);
  Value result;
  const auto child = [&](size_t i) { return evaluate(*expression.children[i]); };
  switch (expression.kind) {
    case Kind::kConstant:
      result = expression.value;
      break;
    case Kind::kName:
      result = evaluate_name(expression);
      break;
    case Kind::kList:
    case Kind::kTuple:
      result = evaluate_list(expression);
      break;
    case Kind::kDict:
      result = evaluate_dict(expression);
      break;
    case Kind::kAttribute:
      result = attribute(child(0), expression.text);
      break;
    case Kind::kSubscript: {
      const Value object = child(0);
      result = subscript(object, child(1));
      break;
    }
    case Kind::kSlice:
      result = evaluate_slice(expression);
      break;
    case Kind::kCall:
      result = evaluate_call(expression);
      break;
    case Kind::kFilter:
      result = evaluate_filter(expression, nullptr);
      break;
    case Kind::kTest: {
      const Value input = child(0);
      result = test(expression.text, input, evaluate_arguments(expression.arguments));
      break;
    }
    case Kind::kNot:
      result = !truthy(child(0));
      break;
    case Kind::kNegate:
      result = negate(child(0));
      break;
    case Kind::kPlus: {
      result = child(0);
      if (!result.is_number()) fail(ErrorKind::kType, "+ of a value of type {}", type_name(result));
      if (result.is_bool()) result = result.integer();
      break;
    }
    case Kind::kAnd: {
      result = child(0);
      if (truthy(result)) result = child(1);
      break;
    }
    case Kind::kOr: {
      result = child(0);
      if (!truthy(result)) result = child(1);
      break;
    }
    case Kind::kConcat:
      result = evaluate_concat(expression);
      break;
    case Kind::kCompare:
      result = evaluate_compare(expression);
      break;
    case Kind::kCondition:
      result = evaluate_condition(expression);
      break;
    default: {
      const Value left = child(0);
      result = apply_operator(*this, expression.kind, left, child(1));
    }
  }
  --frames_;
  return result;
}

Value Interpreter::evaluate_name(const Expression& expression) {
  const Value* found = find(expression.symbol);
  if (found != nullptr) return *found;
  return undefined("'" + program_.symbols[static_cast<size_t>(expression.symbol)] + "'");
}

Value Interpreter::evaluate_list(const Expression& expression) {
  std::vector<Value> items;
  items.reserve(expression.children.size());
  for (const ExpressionPtr& child : expression.children) items.push_back(evaluate(*child));
  return make_list(std::move(items), expression.kind == Kind::kTuple);
}

Value Interpreter::evaluate_dict(const Expression& expression) {
  Dict dict;
  for (size_t i = 0; i < expression.children.size(); i += 2) {
    const Value key = evaluate(*expression.children[i]);
    if (key.is_undefined() || key.is_dict() || (key.is_list() && !key.list().is_tuple)) {
      fail(ErrorKind::kType, "a value of type {} cannot be a key", type_name(key));
    }
    dict.set(key, evaluate(*expression.children[i + 1]));
  }
  return make_dict(std::move(dict));
}

Value Interpreter::evaluate_slice(const Expression& expression) {
  const Value object = evaluate(*expression.children[0]);
  Value parts[3];
  for (size_t i = 0; i < 3; ++i) {
    parts[i] = expression.children[i + 1] == nullptr ? Value(None{}) : evaluate(*expression.children[i + 1]);
  }
  if (object.is_undefined()) fail_undefined(object);
  return slice(*this, object, parts[0], parts[1], parts[2]);
}

Value Interpreter::evaluate_call(const Expression& expression) {
  const Expression& callee = *expression.children[0];
  if (callee.kind == Kind::kAttribute) {  // a method, without making a value of it
    const Value object = evaluate(*callee.children[0]);
    if (const MethodFunction method = find_method(object, callee.text)) {
      return method(*this, object, evaluate_arguments(expression.arguments));
    }
    const Value function = attribute(object, callee.text);
    return call(function, evaluate_arguments(expression.arguments));
  }
  const Value function = evaluate(callee);
  return call(function, evaluate_arguments(expression.arguments));
}

Value Interpreter::evaluate_filter(const Expression& expression, const Value* block_text) {
  const Expression* inner = expression.children[0].get();
  const Value input = inner == nullptr ? *block_text
                      : inner->kind == Kind::kFilter && block_text != nullptr
                          ? evaluate_filter(*inner, block_text)
                          : evaluate(*inner);
  return filter(expression.text, input, evaluate_arguments(expression.arguments));
}

Value Interpreter::evaluate_concat(const Expression& expression) {
  std::string text;
  for (const ExpressionPtr& child : expression.children) {
    const Value part = evaluate(*child);
    text += part.is_text() ? part.text() : to_text(part);
    if (static_cast<int64_t>(text.size()) > limits_.output_bytes)
      fail(ErrorKind::kOutput, "a text of more than {} bytes", limits_.output_bytes);
  }
  return make_text(std::move(text));
}

Value Interpreter::evaluate_compare(const Expression& expression) {
  Value left = evaluate(*expression.children[0]);
  for (size_t i = 0; i < expression.operators.size(); ++i) {
    Value right = evaluate(*expression.children[i + 1]);
    charge_walk(*this, left, right);
    if (!compare(*this, expression.operators[i], left, right)) return false;
    left = std::move(right);
  }
  return true;
}

Value Interpreter::evaluate_condition(const Expression& expression) {
  if (truthy(evaluate(*expression.children[1]))) return evaluate(*expression.children[0]);
  if (expression.children[2] != nullptr) return evaluate(*expression.children[2]);
  return undefined("the inline if without else");
}

Arguments Interpreter::evaluate_arguments(const CallArguments& arguments) {
  Arguments values;
  values.positional.reserve(arguments.positional.size());
  for (const ExpressionPtr& argument : arguments.positional) values.positional.push_back(evaluate(*argument));
  if (arguments.spread) {
    const std::vector<Value> items = iterate(evaluate(*arguments.spread));
    values.positional.insert(values.positional.end(), items.begin(), items.end());
  }
  for (const auto& [name, argument] : arguments.named) values.named.emplace_back(name, evaluate(*argument));
  return values;
}

Value Interpreter::attribute(const Value& object, const std::string& name) {
  if (!name.empty() && name[0] == '_')
    fail(ErrorKind::kAttribute, "attribute '{}' begins with an underscore", core::printable(name, 60));
  if (object.is_undefined()) fail_undefined(object);
  if (is_mutating_method(object, name))
    fail(ErrorKind::kAttribute, "'{}' would change a {}; templates may not", name, type_name(object));
  if (const auto* space = object.get_if<std::shared_ptr<Namespace>>()) {
    for (const auto& attribute : (*space)->attributes) {
      if (attribute.first == name) return attribute.second;
    }
  }
  if (const auto* loop = object.get_if<std::shared_ptr<Loop>>()) return loop_attribute(*loop, name);
  if (const MethodFunction method = find_method(object, name)) {
    return Value(std::make_shared<const Callable>(
        Callable{name, [method, object](Interpreter& self, const Arguments& arguments) {
                   return method(self, object, arguments);
                 }}));
  }
  if (object.is_dict()) {
    if (const Value* found = object.dict().find(std::string_view(name))) return *found;
  }
  return undefined(fmt::format("attribute '{}' of a {}", core::printable(name, 60), type_name(object)));
}

Value Interpreter::subscript(const Value& object, const Value& key) {
  if (object.is_undefined()) fail_undefined(object);
  if (object.is_dict()) {
    if (const Value* found = object.dict().find(key)) return *found;
  }
  if (key.is_text()) return attribute(object, key.text());
  if ((object.is_list() || object.is_text()) && (key.is_int() || key.is_bool()))
    return item_at(*this, object, key.integer());
  return undefined(fmt::format("an item of a {}", type_name(object)));
}

Value Interpreter::call(const Value& function, const Arguments& arguments) {
  if (function.is_undefined()) fail_undefined(function);
  const auto* callable = function.get_if<std::shared_ptr<const Callable>>();
  if (callable == nullptr) fail(ErrorKind::kType, "a value of type {} cannot be called", type_name(function));
  return (*callable)->call(*this, arguments);
}

Value Interpreter::filter(const std::string& name, const Value& input, const Arguments& arguments) {
  if (name == "attr" || name == "format")
    fail(ErrorKind::kAttribute, "the filter '{}' is not allowed in templates", name);
  const FilterFunction function = find_filter(name);
  if (function == nullptr) fail(ErrorKind::kUnsupported, "unknown filter '{}'", core::printable(name, 60));
  return function(*this, input, arguments);
}

bool Interpreter::test(const std::string& name, const Value& input, const Arguments& arguments) {
  const TestFunction function = find_test(name);
  if (function == nullptr) fail(ErrorKind::kUnsupported, "unknown test '{}'", core::printable(name, 60));
  return function(*this, input, arguments);
}

}  // namespace phalanx::data::jinja
