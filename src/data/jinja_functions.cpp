#include <algorithm>
#include <array>
#include <ctime>
#include <map>

#include "data/jinja_library.h"

namespace phalanx::data::jinja {

namespace {

constexpr int64_t kMaxRange = 100'000;  // as jinja2's sandbox

Value call_range(Interpreter& interpreter, const Arguments& arguments) {
  const auto& parts = arguments.positional;
  if (parts.empty() || parts.size() > 3 || !arguments.named.empty())
    fail(ErrorKind::kType, "range takes 1 to 3 integers");
  std::array<int64_t, 3> bounds = {0, 0, 1};
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!parts[i].is_int() && !parts[i].is_bool())
      fail(ErrorKind::kType, "range of a {}", type_name(parts[i]));
    bounds[parts.size() == 1 ? 1 : i] = parts[i].integer();
  }
  const auto [first, last, step] = bounds;
  if (step == 0) fail(ErrorKind::kType, "range with step 0");
  std::vector<Value> items;
  for (int64_t at = first; step > 0 ? at < last : at > last;) {
    if (static_cast<int64_t>(items.size()) == kMaxRange)
      fail(ErrorKind::kSteps, "a range of more than {} numbers", kMaxRange);
    items.emplace_back(at);
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  interpreter.charge_steps(static_cast<int64_t>(items.size()));
  return interpreter.make_list(std::move(items));
}

Dict collect(Interpreter& interpreter, const Arguments& arguments) {
  Dict dict;
  if (arguments.positional.size() > 1) fail(ErrorKind::kType, "dict takes one mapping and named values");
  for (const Value& source : arguments.positional) {
    if (source.is_dict()) {
      for (const auto& [key, value] : source.dict().items()) dict.set(key, value);
      continue;
    }
    for (const Value& pair : interpreter.iterate(source)) {
      const std::vector<Value> parts = interpreter.iterate(pair);
      if (parts.size() != 2) fail(ErrorKind::kType, "dict needs pairs of key and value");
      dict.set(parts[0], parts[1]);
    }
  }
  for (const auto& [name, value] : arguments.named) dict.set(Value(name), value);
  return dict;
}

Value call_dict(Interpreter& interpreter, const Arguments& arguments) {
  return interpreter.make_dict(collect(interpreter, arguments));
}

Value call_namespace(Interpreter& interpreter, const Arguments& arguments) {
  auto space = interpreter.make_namespace();
  const Dict given = collect(interpreter, arguments);
  for (const auto& [key, value] : given.items()) {
    if (!key.is_text()) fail(ErrorKind::kType, "a namespace attribute of type {}", type_name(key));
    if (key.text().starts_with('_'))
      fail(ErrorKind::kAttribute, "attribute '{}' begins with an underscore",
           core::printable(key.text(), 60));
    space->attributes.emplace_back(key.text(), value);
  }
  return Value(space);
}

Value call_raise(Interpreter& interpreter, const Arguments& arguments) {
  const Bound bound("raise_exception", arguments, {"message"});
  fail(ErrorKind::kRaised, "the template refuses this conversation: {}",
       core::printable(interpreter.to_text(bound.require(0)), 200));
}

Value call_strftime(Interpreter& interpreter, const Arguments& arguments) {
  const Bound bound("strftime_now", arguments, {"format"});
  const std::string& format = bound.text(0);
  if (format.size() > 200) fail(ErrorKind::kType, "a time format of more than 200 bytes");
  const std::time_t now = interpreter.clock();
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 4096> buffer{};
  const size_t size = std::strftime(buffer.data(), buffer.size(), format.c_str(), &parts);
  return interpreter.make_text(std::string(buffer.data(), size));
}

const std::map<std::string_view, Value>& functions() {
  using Function = Value (*)(Interpreter&, const Arguments&);
  static const std::map<std::string_view, Value> table = [] {
    std::map<std::string_view, Value> made;
    const std::pair<std::string_view, Function> entries[] = {{"range", call_range},
                                                             {"dict", call_dict},
                                                             {"namespace", call_namespace},
                                                             {"raise_exception", call_raise},
                                                             {"strftime_now", call_strftime}};
    for (const auto& [name, function] : entries) {
      made.emplace(name, std::make_shared<const Callable>(Callable{std::string(name), function}));
    }
    return made;
  }();
  return table;
}

const std::vector<Value>& loop_items(const Loop& loop) {
  return loop.items.items();
}

Value loop_cycle(const Loop& loop, const Arguments& arguments) {
  const auto& values = arguments.positional;
  if (values.empty()) fail(ErrorKind::kType, "loop.cycle needs at least one value");
  return values[static_cast<size_t>(loop.index0) % values.size()];
}

bool loop_changed(Loop& loop, const Arguments& arguments) {
  const bool same = std::equal(loop.changed.begin(), loop.changed.end(), arguments.positional.begin(),
                               arguments.positional.end(), equal);
  if (same && !loop.changed.empty()) return false;
  loop.changed = arguments.positional;
  return true;
}

}  // namespace

const Value* find_function(std::string_view name) {
  const auto found = functions().find(name);
  return found == functions().end() ? nullptr : &found->second;
}

std::vector<std::string> function_names() {
  std::vector<std::string> names;
  for (const auto& entry : functions()) names.emplace_back(entry.first);
  return names;
}

Value loop_attribute(const std::shared_ptr<Loop>& loop, const std::string& name) {
  const auto size = static_cast<int64_t>(loop_items(*loop).size());
  const int64_t at = loop->index0;
  if (name == "index0") return at;
  if (name == "index") return at + 1;
  if (name == "first") return at == 0;
  if (name == "last") return at == size - 1;
  if (name == "length") return size;
  if (name == "revindex") return size - at;
  if (name == "revindex0") return size - at - 1;
  if (name == "depth0") return 0;  // only recursive loops are deeper
  if (name == "depth") return 1;
  if (name == "previtem" && at > 0) return loop_items(*loop)[static_cast<size_t>(at - 1)];
  if (name == "nextitem" && at + 1 < size) return loop_items(*loop)[static_cast<size_t>(at + 1)];
  if (name == "cycle") {
    return Value(std::make_shared<const Callable>(Callable{
        name, [loop](Interpreter&, const Arguments& arguments) { return loop_cycle(*loop, arguments); }}));
  }
  if (name == "changed") {
    return Value(
        std::make_shared<const Callable>(Callable{name, [loop](Interpreter&, const Arguments& arguments) {
                                                    return Value(loop_changed(*loop, arguments));
                                                  }}));
  }
  return Value(Undefined{std::make_shared<const std::string>("loop." + core::printable(name, 60))});
}

Bound::Bound(std::string_view function, const Arguments& arguments,
             std::initializer_list<std::string_view> parameters)
    : function_(function), parameters_(parameters), values_(parameters.size(), nullptr) {
  if (arguments.positional.size() > parameters_.size()) {
    fail(ErrorKind::kType, "'{}' takes at most {} arguments", function, parameters_.size());
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find(parameters_.begin(), parameters_.end(), name);
    if (found == parameters_.end())
      fail(ErrorKind::kType, "'{}' has no argument '{}'", function, core::printable(name, 60));
    values_[static_cast<size_t>(found - parameters_.begin())] = &value;
  }
}

const Value& Bound::require(size_t i) const {
  if (values_[i] == nullptr)
    fail(ErrorKind::kType, "'{}' needs the argument '{}'", function_, parameters_[i]);
  return *values_[i];
}

const std::string& Bound::text(size_t i) const {
  const Value& value = require(i);
  if (!value.is_text()) {
    fail(value.is_undefined() ? ErrorKind::kUndefined : ErrorKind::kType, "'{}' needs text as '{}', not {}",
         function_, parameters_[i], type_name(value));
  }
  return value.text();
}

std::string Bound::text_or(size_t i, std::string fallback) const {
  return has(i) ? text(i) : std::move(fallback);
}

int64_t Bound::integer_or(size_t i, int64_t fallback) const {
  if (!has(i)) return fallback;
  if (!values_[i]->is_int() && !values_[i]->is_bool()) {
    fail(ErrorKind::kType, "'{}' needs an integer as '{}', not {}", function_, parameters_[i],
         type_name(*values_[i]));
  }
  return values_[i]->integer();
}

bool Bound::truth_or(size_t i, bool fallback) const {
  return values_[i] == nullptr ? fallback : truthy(*values_[i]);
}

}  // namespace phalanx::data::jinja
