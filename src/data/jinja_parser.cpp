#include "data/jinja_parser.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <map>
#include <optional>

#include "data/jinja_error.h"
#include "data/jinja_lexer.h"

namespace phalanx::data::jinja {

namespace {

using Kind = Expression::Kind;
using Operator = Expression::Operator;

constexpr int kMaxExpressionDepth =
    400;  // of the tree that is evaluated: 100 brackets and chains such as a + b + c

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokenize(source)) {}

  Program run() {
    program_.body = parse_body({});
    return std::move(program_);
  }

 private:
  // --- tokens ---
  const Token& current() const { return tokens_[at_]; }
  const Token& look() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  bool is(Token::Kind kind) const { return current().kind == kind; }
  bool is_operator(std::string_view op) const { return is(Token::Kind::kOperator) && current().text == op; }
  bool is_name(std::string_view name) const { return is(Token::Kind::kName) && current().text == name; }
  bool skip_operator(std::string_view op) { return is_operator(op) && (++at_, true); }
  bool skip_name(std::string_view name) { return is_name(name) && (++at_, true); }

  std::string describe() const {
    switch (current().kind) {
      case Token::Kind::kData:
        return "text";
      case Token::Kind::kBlockBegin:
        return "'{%'";
      case Token::Kind::kBlockEnd:
        return "'%}'";
      case Token::Kind::kVariableBegin:
        return "'{{'";
      case Token::Kind::kVariableEnd:
        return "'}}'";
      case Token::Kind::kString:
        return "a string";
      case Token::Kind::kInteger:
      case Token::Kind::kFloat:
        return "a number";
      case Token::Kind::kEnd:
        return "the end of the template";
      default:
        return "'" + core::printable(current().text, 40) + "'";
    }
  }

  [[noreturn]] void fail_expected(std::string_view expected) const {
    jinja::fail(ErrorKind::kSyntax, "line {}: found {} where {} is expected", current().line, describe(),
                expected);
  }

  void expect_operator(std::string_view op) {
    if (!skip_operator(op)) fail_expected(fmt::format("'{}'", op));
  }
  std::string expect_name() {
    if (!is(Token::Kind::kName)) fail_expected("a name");
    return tokens_[at_++].text;
  }
  void expect_block_end() {
    if (!is(Token::Kind::kBlockEnd)) fail_expected("'%}'");
    ++at_;
  }

  int symbol(const std::string& name) {
    const auto [found, added] = symbols_.try_emplace(name, static_cast<int>(program_.symbols.size()));
    if (added) program_.symbols.push_back(name);
    return found->second;
  }

  /// Counts the brackets and blocks that are open; a guard lives as long as one of them.
  struct Nested {
    explicit Nested(Parser& parser) : parser_(parser) {
      if (++parser_.nesting_ > kMaxNesting) {
        jinja::fail(ErrorKind::kDepth, "line {}: nested deeper than {} levels", parser_.current().line,
                    kMaxNesting);
      }
    }
    ~Nested() { --parser_.nesting_; }
    Parser& parser_;
  };

  // --- statements ---
  Statement statement(Statement::Kind kind) const {
    Statement made;
    made.kind = kind;
    made.line = current().line;
    return made;
  }

  /// Statements up to one of the tags `ends`, whose name is left in last_tag_ with its arguments unread.
  Body parse_body(std::initializer_list<std::string_view> ends) {
    const Nested nested(*this);
    const int opened = current().line;
    Body body;
    while (!is(Token::Kind::kEnd)) {
      if (is(Token::Kind::kData)) {
        body.push_back(statement(Statement::Kind::kText));
        body.back().text = tokens_[at_++].text;
      } else if (is(Token::Kind::kVariableBegin)) {
        body.push_back(parse_print());
      } else {
        ++at_;  // {%
        if (is(Token::Kind::kName) && std::find(ends.begin(), ends.end(), current().text) != ends.end()) {
          last_tag_ = tokens_[at_++].text;
          return body;
        }
        body.push_back(parse_statement());
        expect_block_end();
      }
    }
    if (ends.size() != 0) {
      jinja::fail(ErrorKind::kSyntax, "line {}: the block is not closed by '{{% {} %}}'", opened,
                  *(ends.end() - 1));
    }
    return body;
  }

  Statement parse_print() {
    ++at_;
    Statement made = statement(Statement::Kind::kPrint);
    made.expression = parse_tuple(true);
    if (!is(Token::Kind::kVariableEnd)) fail_expected("'}}'");
    ++at_;
    return made;
  }

  Statement parse_statement() {
    const Statement here = statement(Statement::Kind::kText);
    const std::string tag = expect_name();
    if (tag == "if") return parse_if();
    if (tag == "for") return parse_for();
    if (tag == "set") return parse_set();
    if (tag == "macro") return parse_macro();
    if (tag == "generation") return parse_generation();
    if (tag == "break" || tag == "continue") return parse_loop_control(tag);
    static constexpr std::array<std::string_view, 12> kAbsent = {"include",    "import", "from",   "extends",
                                                                 "block",      "call",   "filter", "with",
                                                                 "autoescape", "do",     "trans",  "debug"};
    const bool absent = std::find(kAbsent.begin(), kAbsent.end(), tag) != kAbsent.end();
    jinja::fail(absent ? ErrorKind::kUnsupported : ErrorKind::kSyntax,
                "line {}: {} tag '{}'; templates may use if, for, set, macro, generation, break and continue",
                here.line, absent ? "unsupported" : "unknown or misplaced", core::printable(tag, 40));
  }

  Statement parse_if() {
    Statement made = statement(Statement::Kind::kIf);
    for (std::string tag = "if"; tag != "endif"; tag = last_tag_) {
      Branch branch;
      if (tag != "else") branch.condition = parse_tuple(false);
      expect_block_end();
      branch.body = tag == "else" ? parse_body({"endif"}) : parse_body({"elif", "else", "endif"});
      made.branches.push_back(std::move(branch));
    }
    return made;
  }

  Statement parse_for() {
    Statement made = statement(Statement::Kind::kFor);
    made.target = parse_target(false);
    if (!skip_name("in")) fail_expected("'in'");
    made.expression = parse_tuple(false);
    if (skip_name("if")) made.condition = parse_expression();
    if (is_name("recursive"))
      jinja::fail(ErrorKind::kUnsupported, "line {}: recursive loops are not supported", made.line);
    expect_block_end();
    ++loops_;
    made.body = parse_body({"else", "endfor"});
    --loops_;
    if (last_tag_ == "else") {
      expect_block_end();
      made.else_body = parse_body({"endfor"});
    }
    return made;
  }

  Statement parse_loop_control(const std::string& tag) {
    if (loops_ == 0) jinja::fail(ErrorKind::kSyntax, "line {}: '{}' outside a loop", current().line, tag);
    return statement(tag == "break" ? Statement::Kind::kBreak : Statement::Kind::kContinue);
  }

  Target parse_target(bool with_attribute) {
    Target target;
    const bool brackets = skip_operator("(");
    do {
      if (!target.symbols.empty() && !is(Token::Kind::kName)) break;  // a trailing comma
      target.symbols.push_back(symbol(expect_assignable()));
      if (with_attribute && target.symbols.size() == 1 && skip_operator(".")) {
        target.attribute = expect_name();
        return target;
      }
    } while (skip_operator(","));
    target.is_tuple = target.symbols.size() > 1 || tokens_[at_ - 1].text == ",";
    if (brackets) expect_operator(")");
    return target;
  }

  std::string expect_assignable() {
    const std::string name = expect_name();
    static constexpr std::array<std::string_view, 6> kReserved = {"true", "false", "none",
                                                                  "True", "False", "None"};
    if (std::find(kReserved.begin(), kReserved.end(), name) != kReserved.end()) {
      jinja::fail(ErrorKind::kSyntax, "line {}: cannot assign to '{}'", current().line, name);
    }
    return name;
  }

  Statement parse_set() {
    Statement made = statement(Statement::Kind::kSet);
    made.target = parse_target(true);
    if (skip_operator("=")) {
      made.expression = parse_tuple(true);
      return made;
    }
    made.kind = Statement::Kind::kSetBlock;
    if (is_operator("|")) made.expression = parse_filters(nullptr);
    expect_block_end();
    made.body = parse_body({"endset"});
    return made;
  }

  Statement parse_macro() {
    Statement made = statement(Statement::Kind::kMacro);
    made.text = expect_assignable();
    made.symbol = symbol(made.text);
    expect_operator("(");
    while (!is_operator(")")) {
      if (!made.parameters.empty()) expect_operator(",");
      Parameter parameter;
      parameter.name = expect_assignable();
      parameter.symbol = symbol(parameter.name);
      if (skip_operator("=")) parameter.fallback = parse_expression();
      made.parameters.push_back(std::move(parameter));
    }
    expect_operator(")");
    expect_block_end();
    const int loops = std::exchange(loops_, 0);
    made.body = parse_body({"endmacro"});
    loops_ = loops;
    return made;
  }

  Statement parse_generation() {
    Statement made = statement(Statement::Kind::kGeneration);
    program_.has_generation = true;
    expect_block_end();
    const int loops = std::exchange(loops_, 0);  // a break may not leave the block
    made.body = parse_body({"endgeneration"});
    loops_ = loops;
    return made;
  }

  // --- expressions, loosest binding first ---
  ExpressionPtr make(Kind kind, int line) const {
    auto made = std::make_unique<Expression>();
    made->kind = kind;
    made->line = line;
    return made;
  }

  void adopt(Expression& parent, ExpressionPtr child) const {
    if (child != nullptr) {
      parent.depth = std::max(parent.depth, child->depth + 1);
      if (parent.depth > kMaxExpressionDepth) {
        jinja::fail(ErrorKind::kDepth, "line {}: an expression of more than {} steps in a row", parent.line,
                    kMaxExpressionDepth);
      }
    }
    parent.children.push_back(std::move(child));
  }

  template <typename... Children>
  ExpressionPtr make(Kind kind, int line, Children... children) const {
    ExpressionPtr made = make(kind, line);
    (adopt(*made, std::move(children)), ...);
    return made;
  }

  ExpressionPtr parse_tuple(bool with_condition, bool in_brackets = false) {
    const int line = current().line;
    ExpressionPtr tuple = make(Kind::kTuple, line);
    bool has_comma = false;
    while (!at_tuple_end()) {
      adopt(*tuple, with_condition ? parse_expression() : parse_or());
      if (!skip_operator(",")) break;
      has_comma = true;
    }
    if (has_comma) return tuple;
    if (tuple->children.empty()) {
      if (in_brackets) return tuple;
      fail_expected("an expression");
    }
    return std::move(tuple->children[0]);
  }

  bool at_tuple_end() const {
    return is(Token::Kind::kVariableEnd) || is(Token::Kind::kBlockEnd) || is_operator(")");
  }

  ExpressionPtr parse_expression() {
    const Nested nested(*this);
    ExpressionPtr left = parse_or();
    while (is_name("if")) {
      const int line = tokens_[at_++].line;
      ExpressionPtr condition = parse_or();
      ExpressionPtr otherwise = skip_name("else") ? parse_expression() : nullptr;
      left = make(Kind::kCondition, line, std::move(left), std::move(condition), std::move(otherwise));
    }
    return left;
  }

  ExpressionPtr parse_or() {
    ExpressionPtr left = parse_and();
    while (is_name("or")) {
      const int line = tokens_[at_++].line;
      left = make(Kind::kOr, line, std::move(left), parse_and());
    }
    return left;
  }

  ExpressionPtr parse_and() {
    ExpressionPtr left = parse_not();
    while (is_name("and")) {
      const int line = tokens_[at_++].line;
      left = make(Kind::kAnd, line, std::move(left), parse_not());
    }
    return left;
  }

  ExpressionPtr parse_not() {
    if (!is_name("not")) return parse_compare();
    const Nested nested(*this);
    const int line = tokens_[at_++].line;
    return make(Kind::kNot, line, parse_not());
  }

  std::optional<Operator> read_comparison() {
    static const std::map<std::string_view, Operator> kOperators = {
        {"==", Operator::kEqual},     {"!=", Operator::kNotEqual}, {"<", Operator::kLess},
        {"<=", Operator::kLessEqual}, {">", Operator::kGreater},   {">=", Operator::kGreaterEqual}};
    if (is(Token::Kind::kOperator)) {
      const auto found = kOperators.find(current().text);
      if (found == kOperators.end()) return std::nullopt;
      ++at_;
      return found->second;
    }
    if (skip_name("in")) return Operator::kIn;
    if (is_name("not") && look().kind == Token::Kind::kName && look().text == "in") {
      at_ += 2;
      return Operator::kNotIn;
    }
    return std::nullopt;
  }

  ExpressionPtr parse_compare() {
    const int line = current().line;
    ExpressionPtr first = parse_sum();
    std::optional<Operator> next = read_comparison();
    if (!next) return first;
    ExpressionPtr compare = make(Kind::kCompare, line, std::move(first));
    for (; next; next = read_comparison()) {
      compare->operators.push_back(*next);
      adopt(*compare, parse_sum());
    }
    return compare;
  }

  ExpressionPtr parse_sum() {
    ExpressionPtr left = parse_concat();
    while (is_operator("+") || is_operator("-")) {
      const Token& op = tokens_[at_++];
      left = make(op.text == "+" ? Kind::kAdd : Kind::kSubtract, op.line, std::move(left), parse_concat());
    }
    return left;
  }

  ExpressionPtr parse_concat() {
    const int line = current().line;
    ExpressionPtr first = parse_product();
    if (!is_operator("~")) return first;
    ExpressionPtr concat = make(Kind::kConcat, line, std::move(first));
    while (skip_operator("~")) adopt(*concat, parse_product());
    return concat;
  }

  ExpressionPtr parse_product() {
    ExpressionPtr left = parse_power();
    while (is_operator("*") || is_operator("/") || is_operator("//") || is_operator("%")) {
      const Token& op = tokens_[at_++];
      const Kind kind = op.text == "*"    ? Kind::kMultiply
                        : op.text == "/"  ? Kind::kDivide
                        : op.text == "//" ? Kind::kFloorDivide
                                          : Kind::kModulo;
      left = make(kind, op.line, std::move(left), parse_power());
    }
    return left;
  }

  ExpressionPtr parse_power() {
    ExpressionPtr left = parse_unary(true);
    while (is_operator("**")) {
      const int line = tokens_[at_++].line;
      left = make(Kind::kPower, line, std::move(left), parse_unary(true));
    }
    return left;
  }

  ExpressionPtr parse_unary(bool with_filter) {
    ExpressionPtr node;
    if (is_operator("-") || is_operator("+")) {
      const Nested nested(*this);
      const Token& op = tokens_[at_++];
      node = make(op.text == "-" ? Kind::kNegate : Kind::kPlus, op.line, parse_unary(false));
    } else {
      node = parse_primary();
    }
    node = parse_postfix(std::move(node));
    return with_filter ? parse_filters(std::move(node)) : std::move(node);
  }

  ExpressionPtr parse_constant(Value value) {
    ExpressionPtr made = make(Kind::kConstant, tokens_[at_++].line);
    made->value = std::move(value);
    return made;
  }

  ExpressionPtr parse_primary() {
    switch (current().kind) {
      case Token::Kind::kName:
        return parse_name();
      case Token::Kind::kInteger:
        return parse_constant(current().integer);
      case Token::Kind::kFloat:
        return parse_constant(current().real);
      case Token::Kind::kString:
        return parse_strings();
      default:
        break;
    }
    if (is_operator("[")) return parse_list();
    if (is_operator("{")) return parse_dict();
    if (!skip_operator("(")) fail_expected("an expression");
    ExpressionPtr inner = parse_tuple(true, true);
    expect_operator(")");
    return inner;
  }

  ExpressionPtr parse_name() {
    const std::string& name = current().text;
    if (name == "true" || name == "True") return parse_constant(true);
    if (name == "false" || name == "False") return parse_constant(false);
    if (name == "none" || name == "None") return parse_constant(None{});
    ExpressionPtr made = make(Kind::kName, current().line);
    made->symbol = symbol(name);
    ++at_;
    return made;
  }

  ExpressionPtr parse_strings() {  // adjacent strings are one
    const int line = current().line;
    std::string text;
    while (is(Token::Kind::kString)) text += tokens_[at_++].text;
    ExpressionPtr made = make(Kind::kConstant, line);
    made->value = std::move(text);
    return made;
  }

  ExpressionPtr parse_list() {
    ExpressionPtr list = make(Kind::kList, tokens_[at_++].line);
    while (!is_operator("]")) {
      if (!list->children.empty()) expect_operator(",");
      if (is_operator("]")) break;
      adopt(*list, parse_expression());
    }
    expect_operator("]");
    return list;
  }

  ExpressionPtr parse_dict() {
    ExpressionPtr dict = make(Kind::kDict, tokens_[at_++].line);
    while (!is_operator("}")) {
      if (!dict->children.empty()) expect_operator(",");
      if (is_operator("}")) break;
      adopt(*dict, parse_expression());
      expect_operator(":");
      adopt(*dict, parse_expression());
    }
    expect_operator("}");
    return dict;
  }

  ExpressionPtr parse_postfix(ExpressionPtr node) {
    while (true) {
      if (is_operator(".")) {
        node = parse_attribute(std::move(node));
      } else if (is_operator("[")) {
        node = parse_subscript(std::move(node));
      } else if (is_operator("(")) {
        node = parse_call(std::move(node));
      } else {
        return node;
      }
    }
  }

  ExpressionPtr parse_attribute(ExpressionPtr node) {
    const int line = tokens_[at_++].line;
    if (is(Token::Kind::kInteger))
      return make(Kind::kSubscript, line, std::move(node), parse_constant(current().integer));
    ExpressionPtr made = make(Kind::kAttribute, line, std::move(node));
    made->text = expect_name();
    return made;
  }

  ExpressionPtr parse_subscript(ExpressionPtr node) {
    const int line = tokens_[at_++].line;
    ExpressionPtr begin = is_operator(":") ? nullptr : parse_expression();
    if (!is_operator(":")) {
      if (is_operator(","))
        jinja::fail(ErrorKind::kUnsupported, "line {}: several subscripts are not supported", line);
      expect_operator("]");
      return make(Kind::kSubscript, line, std::move(node), std::move(begin));
    }
    ++at_;
    ExpressionPtr end = is_operator(":") || is_operator("]") ? nullptr : parse_expression();
    ExpressionPtr step = skip_operator(":") && !is_operator("]") ? parse_expression() : nullptr;
    expect_operator("]");
    return make(Kind::kSlice, line, std::move(node), std::move(begin), std::move(end), std::move(step));
  }

  void parse_arguments(Expression& call) {
    expect_operator("(");
    CallArguments& arguments = call.arguments;
    while (!is_operator(")")) {
      if (!arguments.positional.empty() || !arguments.named.empty() || arguments.spread) expect_operator(",");
      if (is_operator(")")) break;
      if (is_operator("**"))
        jinja::fail(ErrorKind::kUnsupported, "line {}: ** arguments are not supported", current().line);
      if (!arguments.spread && skip_operator("*")) {
        arguments.spread = parse_expression();
        call.depth = std::max(call.depth, arguments.spread->depth + 1);
        continue;
      }
      const bool named =
          is(Token::Kind::kName) && look().kind == Token::Kind::kOperator && look().text == "=";
      std::string name = named ? current().text : "";
      if (named) at_ += 2;
      if (!named && (!arguments.named.empty() || arguments.spread)) fail_expected("a named argument");
      ExpressionPtr value = parse_expression();
      call.depth = std::max(call.depth, value->depth + 1);
      if (named) {
        arguments.named.emplace_back(std::move(name), std::move(value));
      } else {
        arguments.positional.push_back(std::move(value));
      }
    }
    expect_operator(")");
  }

  ExpressionPtr parse_call(ExpressionPtr node) {
    ExpressionPtr call = make(Kind::kCall, current().line, std::move(node));
    parse_arguments(*call);
    return call;
  }

  ExpressionPtr parse_filters(ExpressionPtr node) {
    while (true) {
      if (is_operator("|")) {
        const int line = tokens_[at_++].line;
        node = make(Kind::kFilter, line, std::move(node));
        node->text = expect_name();
        if (is_operator("(")) parse_arguments(*node);
      } else if (is_name("is")) {
        node = parse_test(std::move(node));
      } else if (is_operator("(")) {
        node = parse_call(std::move(node));
      } else {
        return node;
      }
    }
  }

  ExpressionPtr parse_test(ExpressionPtr node) {
    const int line = tokens_[at_++].line;
    const bool negated = skip_name("not");
    ExpressionPtr test = make(Kind::kTest, line, std::move(node));
    test->text = expect_name();
    if (is_operator("(")) {
      parse_arguments(*test);
    } else if (begins_test_argument()) {
      ExpressionPtr argument = parse_postfix(parse_primary());
      test->depth = std::max(test->depth, argument->depth + 1);
      test->arguments.positional.push_back(std::move(argument));
    }
    return negated ? make(Kind::kNot, line, std::move(test)) : std::move(test);
  }

  bool begins_test_argument() const {
    if (is(Token::Kind::kString) || is(Token::Kind::kInteger) || is(Token::Kind::kFloat)) return true;
    if (is_operator("[") || is_operator("{")) return true;
    if (is_name("is"))
      jinja::fail(ErrorKind::kSyntax, "line {}: tests cannot be chained with 'is'", current().line);
    return is(Token::Kind::kName) && !is_name("else") && !is_name("or") && !is_name("and");
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
  int loops_ = 0;
  std::string last_tag_;
  std::map<std::string, int> symbols_;
  Program program_;
};

}  // namespace

Program parse(std::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    jinja::fail(ErrorKind::kOutput, "a template of {} bytes; the limit is {}", source.size(),
                kMaxSourceBytes);
  }
  if (!simdjson::validate_utf8(source.data(), source.size()))
    jinja::fail(ErrorKind::kSyntax, "the template is not valid UTF-8");
  return Parser(source).run();
}

}  // namespace phalanx::data::jinja
