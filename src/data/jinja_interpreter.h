#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/jinja_ast.h"
#include "data/jinja_error.h"

namespace phalanx::data::jinja {

struct Limits {
  int64_t steps = 1'000'000;  ///< evaluated expressions, statements and visited items
  int64_t macro_depth = 100;
  int64_t output_bytes = int64_t{16} << 20;
  int64_t built_bytes =
      int64_t{64} << 20;  ///< all text and lists that the template builds, in addition to 32 x the input
};

struct Rendered {
  std::string text;
  std::vector<std::pair<size_t, size_t>>
      generation;  ///< byte ranges printed inside {% generation %} blocks, in order
};

using Variables = std::vector<std::pair<std::string, Value>>;

/// Runs one program once. Everything that a filter, test, method or function needs of it is public.
class Interpreter {
 public:
  /// @param clock  what strftime_now prints, in seconds since 1970 UTC
  Interpreter(const Program& program, const Variables& variables, const Limits& limits, int64_t clock);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;

  Rendered run();

  void charge_steps(int64_t steps);
  void charge_scan(size_t bytes) { charge_steps(1 + static_cast<int64_t>(bytes >> 10)); }
  void charge_bytes(uint64_t bytes);  ///< before text of that size is built
  Value make_text(std::string text, bool safe = false);
  Value make_list(std::vector<Value> items, bool is_tuple = false);
  Value make_dict(Dict dict);
  std::shared_ptr<Namespace> make_namespace();
  std::string to_text(const Value& value);         ///< str(), with the size charged first
  std::vector<Value> iterate(const Value& value);  ///< items of a list, keys of a dict, characters of a text

  Value attribute(const Value& object, const std::string& name);
  Value subscript(const Value& object, const Value& key);
  Value call(const Value& function, const Arguments& arguments);
  Value filter(const std::string& name, const Value& input, const Arguments& arguments);
  bool test(const std::string& name, const Value& input, const Arguments& arguments);
  int64_t clock() const { return clock_; }

 private:
  static constexpr int kMaxFrames = 2000;  // of evaluate and execute: 1-2 MB of stack
  struct Scope;
  enum class Flow { kNormal, kBreak, kContinue };
  class ScopeGuard;

  // statements: jinja_interpreter.cpp
  Flow execute(const Body& body);
  Flow execute(const Statement& statement);
  Flow execute_if(const Statement& statement);
  Flow execute_for(const Statement& statement);
  std::vector<Value> filtered_items(const Statement& statement);
  void execute_set_block(const Statement& statement);
  void execute_generation(const Statement& statement);
  void define_macro(const Statement& statement);
  Value call_macro(const Statement& macro, Scope* defined_in, const Arguments& arguments);
  void bind_parameters(const Statement& macro, const Arguments& arguments);
  void assign(const Target& target, Value value);
  void print(const Value& value);
  void append(std::string_view text);
  template <typename Run>
  std::string capture(Run run);

  // names
  Value* find(int symbol);
  void store(int symbol, Value value);

  // expressions: jinja_expressions.cpp
  Value evaluate(const Expression& expression);
  Value evaluate_name(const Expression& expression);
  Value evaluate_list(const Expression& expression);
  Value evaluate_dict(const Expression& expression);
  Value evaluate_slice(const Expression& expression);
  Value evaluate_call(const Expression& expression);
  Value evaluate_filter(const Expression& expression, const Value* block_text);
  Value evaluate_concat(const Expression& expression);
  Value evaluate_compare(const Expression& expression);
  Value evaluate_condition(const Expression& expression);
  Arguments evaluate_arguments(const CallArguments& arguments);

  const Program& program_;
  Limits limits_;
  int64_t clock_;
  std::vector<std::pair<bool, Value>> globals_;  // by symbol: is there one, its value
  std::vector<std::unique_ptr<Scope>> scopes_;   // all that were ever needed; free ones are reused
  std::vector<Scope*> free_scopes_;
  Scope* scope_ = nullptr;
  std::vector<std::shared_ptr<Namespace>> namespaces_;  // emptied at the end: they may hold one another
  std::string* output_ = nullptr;
  Rendered rendered_;
  int64_t steps_ = 0;
  int64_t bytes_left_ = 0;
  int frames_ = 0;  // C++ frames of evaluate and execute that are open
  int64_t macro_depth_ = 0;
  int line_ = 0;
  int loop_symbol_ = -1;  // of the name `loop`, -1 when the template never says it
};

}  // namespace phalanx::data::jinja
