#include "data/jinja_interpreter.h"

#include <algorithm>

#include "data/jinja_library.h"
#include "data/jinja_text.h"

namespace phalanx::data::jinja {

namespace {

constexpr int kMaxValueDepth = 100;

}  // namespace

struct Interpreter::Scope {
  std::vector<std::pair<int, Value>> variables;
  Scope* parent = nullptr;
  bool captured = false;  // a macro was defined here and may be called later
};

class Interpreter::ScopeGuard {
 public:
  ScopeGuard(Interpreter& interpreter, Scope* parent)
      : interpreter_(interpreter), previous_(interpreter.scope_) {
    if (interpreter.free_scopes_.empty()) {
      interpreter.scopes_.push_back(std::make_unique<Scope>());
      interpreter.free_scopes_.push_back(interpreter.scopes_.back().get());
    }
    scope_ = interpreter.free_scopes_.back();
    interpreter.free_scopes_.pop_back();
    scope_->parent = parent;
    interpreter.scope_ = scope_;
  }
  ~ScopeGuard() {
    interpreter_.scope_ = previous_;
    if (scope_->captured) {
      // Its ancestors stay reachable through it.
      for (Scope* s = scope_->parent; s != nullptr; s = s->parent) s->captured = true;
      return;
    }
    scope_->variables.clear();
    interpreter_.free_scopes_.push_back(scope_);
  }
  ScopeGuard(const ScopeGuard&) = delete;

 private:
  Interpreter& interpreter_;
  Scope* previous_;
  Scope* scope_;
};

Interpreter::Interpreter(const Program& program, const Variables& variables, const Limits& limits,
                         int64_t clock)
    : program_(program), limits_(limits), clock_(clock), globals_(program.symbols.size()) {
  uint64_t input_bytes = 0;
  for (const auto& variable : variables) input_bytes += extent(variable.second).bytes;
  bytes_left_ =
      limits.built_bytes + 32 * static_cast<int64_t>(std::min<uint64_t>(input_bytes, uint64_t{1} << 40));
  for (size_t symbol = 0; symbol < globals_.size(); ++symbol) {
    const std::string& name = program.symbols[symbol];
    if (name == "loop") loop_symbol_ = static_cast<int>(symbol);
    if (const Value* function = find_function(name)) globals_[symbol] = {true, *function};
    for (const auto& variable : variables) {
      if (variable.first == name) globals_[symbol] = {true, variable.second};
    }
  }
}

Interpreter::~Interpreter() {
  for (const auto& space : namespaces_) space->attributes.clear();
}

Rendered Interpreter::run() {
  const ScopeGuard scope(*this, nullptr);
  output_ = &rendered_.text;
  try {
    execute(program_.body);
  } catch (const TemplateError& error) {
    throw TemplateError(error.kind(), fmt::format("line {}: {}", line_, error.what()));
  }
  return std::move(rendered_);
}

void Interpreter::charge_steps(int64_t steps) {
  steps_ += steps;
  if (steps_ > limits_.steps) fail(ErrorKind::kSteps, "more than {} steps", limits_.steps);
}

void Interpreter::charge_bytes(uint64_t bytes) {
  if (bytes > static_cast<uint64_t>(bytes_left_))
    fail(ErrorKind::kOutput, "the template builds too much text");
  bytes_left_ -= static_cast<int64_t>(bytes);
}

Value Interpreter::make_text(std::string text, bool safe) {
  charge_bytes(text.size() + 16);
  if (static_cast<int64_t>(text.size()) > limits_.output_bytes) {
    fail(ErrorKind::kOutput, "a text of more than {} bytes", limits_.output_bytes);
  }
  return Value(std::move(text), safe);
}

Value Interpreter::make_list(std::vector<Value> items, bool is_tuple) {
  charge_bytes(16 * items.size() + 16);
  Value made(List{std::move(items), is_tuple});
  if (extent(made).depth > kMaxValueDepth)
    fail(ErrorKind::kDepth, "a list nested deeper than {} levels", kMaxValueDepth);
  return made;
}

Value Interpreter::make_dict(Dict dict) {
  charge_bytes(32 * dict.size() + 16);
  if (dict.extent().depth > kMaxValueDepth)
    fail(ErrorKind::kDepth, "a dict nested deeper than {} levels", kMaxValueDepth);
  return Value(std::move(dict));
}

std::shared_ptr<Namespace> Interpreter::make_namespace() {
  namespaces_.push_back(std::make_shared<Namespace>());
  return namespaces_.back();
}

std::string Interpreter::to_text(const Value& value) {
  if (!value.is_text()) charge_bytes(extent(value).bytes);
  return str(value);
}

std::vector<Value> Interpreter::iterate(const Value& value) {
  std::vector<Value> items;
  if (value.is_list()) {
    charge_steps(static_cast<int64_t>(value.items().size()));
    return value.items();
  }
  if (value.is_dict()) {
    charge_steps(static_cast<int64_t>(value.dict().size()));
    for (const auto& item : value.dict().items()) items.push_back(item.first);
    return items;
  }
  if (value.is_text()) {
    const std::u32string characters = to_code_points(value.text());
    charge_steps(static_cast<int64_t>(characters.size()));
    for (const char32_t c : characters) items.emplace_back(to_utf8(std::u32string_view(&c, 1)));
    return items;
  }
  if (value.is_undefined()) return items;
  fail(ErrorKind::kType, "a value of type {} cannot be iterated", type_name(value));
}

Interpreter::Flow Interpreter::execute(const Body& body) {
  for (const Statement& statement : body) {
    const Flow flow = execute(statement);
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute(const Statement& statement) {
  charge_steps(1);
  line_ = statement.line;
  if (++frames_ > kMaxFrames) fail(ErrorKind::kDepth, "nested deeper than {} evaluations", kMaxFrames);
  Flow flow = Flow::kNormal;
  switch (statement.kind) {
    case Statement::Kind::kText:
      append(statement.text);
      break;
    case Statement::Kind::kPrint:
      print(evaluate(*statement.expression));
      break;
    case Statement::Kind::kIf:
      flow = execute_if(statement);
      break;
    case Statement::Kind::kFor:
      flow = execute_for(statement);
      break;
    case Statement::Kind::kSet:
      assign(statement.target, evaluate(*statement.expression));
      break;
    case Statement::Kind::kSetBlock:
      execute_set_block(statement);
      break;
    case Statement::Kind::kMacro:
      define_macro(statement);
      break;
    case Statement::Kind::kGeneration:
      execute_generation(statement);
      break;
    case Statement::Kind::kBreak:
      flow = Flow::kBreak;
      break;
    case Statement::Kind::kContinue:
      flow = Flow::kContinue;
      break;
  }
  --frames_;
  return flow;
}

Interpreter::Flow Interpreter::execute_if(const Statement& statement) {
  for (const Branch& branch : statement.branches) {
    if (branch.condition == nullptr || truthy(evaluate(*branch.condition))) return execute(branch.body);
  }
  return Flow::kNormal;
}

std::vector<Value> Interpreter::filtered_items(const Statement& statement) {
  std::vector<Value> items = iterate(evaluate(*statement.expression));
  if (statement.condition == nullptr) return items;
  std::vector<Value> kept;
  for (Value& item : items) {
    const ScopeGuard scope(*this, scope_);
    assign(statement.target, item);
    if (truthy(evaluate(*statement.condition))) kept.push_back(std::move(item));
  }
  return kept;
}

Interpreter::Flow Interpreter::execute_for(const Statement& statement) {
  std::vector<Value> items = filtered_items(statement);
  if (items.empty()) {
    const ScopeGuard scope(*this, scope_);
    return execute(statement.else_body);
  }
  const auto loop = std::make_shared<Loop>();
  loop->items = Value(std::move(items));
  for (const Value& item : loop->items.items()) {
    const ScopeGuard scope(*this, scope_);
    if (loop_symbol_ >= 0) store(loop_symbol_, Value(loop));
    assign(statement.target, item);
    if (execute(statement.body) == Flow::kBreak) break;
    ++loop->index0;
  }
  return Flow::kNormal;
}

void Interpreter::execute_set_block(const Statement& statement) {
  Value text;
  {
    const ScopeGuard scope(*this, scope_);
    text = make_text(capture([&] { execute(statement.body); }));
    if (statement.expression != nullptr) text = evaluate_filter(*statement.expression, &text);
  }
  assign(statement.target, std::move(text));
}

void Interpreter::execute_generation(const Statement& statement) {
  if (output_ != &rendered_.text) {
    fail(ErrorKind::kUnsupported,
         "{{% generation %}} inside a macro, a set block or another generation block");
  }
  const size_t begin = output_->size();
  const std::string text = capture([&] {
    const ScopeGuard scope(*this, scope_);
    execute(statement.body);
  });
  append(text);
  rendered_.generation.emplace_back(begin, output_->size());
}

void Interpreter::define_macro(const Statement& statement) {
  scope_->captured = true;
  Scope* defined_in = scope_;
  Callable macro{statement.text, [&statement, defined_in](Interpreter& self, const Arguments& arguments) {
                   return self.call_macro(statement, defined_in, arguments);
                 }};
  store(statement.symbol, Value(std::make_shared<const Callable>(std::move(macro))));
}

Value Interpreter::call_macro(const Statement& macro, Scope* defined_in, const Arguments& arguments) {
  if (++macro_depth_ > limits_.macro_depth)
    fail(ErrorKind::kDepth, "macros call one another deeper than {} levels", limits_.macro_depth);
  const int line = line_;
  const ScopeGuard scope(*this, defined_in);
  bind_parameters(macro, arguments);
  std::string text = capture([&] { execute(macro.body); });
  --macro_depth_;
  line_ = line;
  return make_text(std::move(text));
}

void Interpreter::bind_parameters(const Statement& macro, const Arguments& arguments) {
  if (arguments.positional.size() > macro.parameters.size()) {
    fail(ErrorKind::kType, "macro '{}' takes {} arguments, not {}", macro.text, macro.parameters.size(),
         arguments.positional.size());
  }
  size_t used = 0;
  for (size_t i = 0; i < macro.parameters.size(); ++i) {
    const Parameter& parameter = macro.parameters[i];
    const auto named = std::find_if(arguments.named.begin(), arguments.named.end(),
                                    [&](const auto& argument) { return argument.first == parameter.name; });
    if (i < arguments.positional.size()) {
      if (named != arguments.named.end())
        fail(ErrorKind::kType, "macro '{}' gets '{}' twice", macro.text, parameter.name);
      store(parameter.symbol, arguments.positional[i]);
    } else if (named != arguments.named.end()) {
      store(parameter.symbol, named->second);
      ++used;
    } else if (parameter.fallback != nullptr) {
      store(parameter.symbol, evaluate(*parameter.fallback));
    } else {
      store(parameter.symbol, Value(Undefined{std::make_shared<const std::string>(
                                  fmt::format("'{}' is not given and", parameter.name))}));
    }
  }
  if (used != arguments.named.size())
    fail(ErrorKind::kType, "macro '{}' gets an argument that it does not have", macro.text);
}

void Interpreter::assign(const Target& target, Value value) {
  if (!target.attribute.empty()) {
    const Value* object = find(target.symbols[0]);
    const auto* space = object == nullptr ? nullptr : object->get_if<std::shared_ptr<Namespace>>();
    if (space == nullptr)
      fail(ErrorKind::kType, "only attributes of a namespace can be set, '{}' is none",
           program_.symbols[static_cast<size_t>(target.symbols[0])]);
    if (target.attribute[0] == '_')
      fail(ErrorKind::kAttribute, "attribute '{}' begins with an underscore", target.attribute);
    auto& attributes = (*space)->attributes;
    for (auto& attribute : attributes) {
      if (attribute.first != target.attribute) continue;
      attribute.second = std::move(value);
      return;
    }
    charge_bytes(64);
    attributes.emplace_back(target.attribute, std::move(value));
    return;
  }
  if (!target.is_tuple) return store(target.symbols[0], std::move(value));
  std::vector<Value> parts = iterate(value);
  if (parts.size() != target.symbols.size()) {
    fail(ErrorKind::kType, "{} values for {} names", parts.size(), target.symbols.size());
  }
  for (size_t i = 0; i < parts.size(); ++i) store(target.symbols[i], std::move(parts[i]));
}

void Interpreter::print(const Value& value) {
  if (value.is_text()) return append(value.text());
  append(to_text(value));
}

void Interpreter::append(std::string_view text) {
  if (static_cast<int64_t>(output_->size() + text.size()) > limits_.output_bytes) {
    fail(ErrorKind::kOutput, "more than {} bytes of output", limits_.output_bytes);
  }
  charge_steps(static_cast<int64_t>(text.size() >> 12));
  output_->append(text);
}

template <typename Run>
std::string Interpreter::capture(Run run) {
  std::string text;
  std::string* outer = std::exchange(output_, &text);
  run();
  output_ = outer;
  charge_bytes(text.size());
  return text;
}

Value* Interpreter::find(int symbol) {
  for (Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    for (auto& variable : scope->variables) {
      if (variable.first == symbol) return &variable.second;
    }
  }
  auto& global = globals_[static_cast<size_t>(symbol)];
  return global.first ? &global.second : nullptr;
}

void Interpreter::store(int symbol, Value value) {
  for (auto& variable : scope_->variables) {
    if (variable.first != symbol) continue;
    variable.second = std::move(value);
    return;
  }
  scope_->variables.emplace_back(symbol, std::move(value));
}

}  // namespace phalanx::data::jinja
