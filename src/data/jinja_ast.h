#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/jinja_value.h"

namespace phalanx::data::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct CallArguments {
  std::vector<ExpressionPtr> positional;
  ExpressionPtr spread;  ///< f(*spread): its items follow the positional ones; null: none
  std::vector<std::pair<std::string, ExpressionPtr>> named;
};

/// One expression. Which members are used depends on `kind`.
struct Expression {
  enum class Kind {
    kConstant,   // value
    kName,       // symbol
    kList,       // children
    kTuple,      // children
    kDict,       // children: key, value, key, value, ...
    kAttribute,  // children[0].text
    kSubscript,  // children[0][children[1]]
    kSlice,      // children[0][children[1]:children[2]:children[3]], absent parts null
    kCall,       // children[0](arguments)
    kFilter,     // children[0] | text(arguments); children[0] null inside a filter block
    kTest,       // children[0] is text(arguments)
    kNot,
    kNegate,
    kPlus,  // children[0]
    kAnd,
    kOr,  // children[0], children[1]
    kAdd,
    kSubtract,
    kMultiply,
    kDivide,
    kFloorDivide,
    kModulo,
    kPower,
    kConcat,     // children
    kCompare,    // children[0] operators[0] children[1] operators[1] children[2] ...
    kCondition,  // children[0] if children[1] else children[2] (null when absent)
  };
  enum class Operator { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kNotIn };

  Kind kind;
  int line = 0;
  int depth = 0;    ///< of the tree below
  int symbol = -1;  ///< kName: number of the name in the template's table
  std::string text;
  Value value;
  std::vector<ExpressionPtr> children;
  std::vector<Operator> operators;
  CallArguments arguments;
};

/// Where a value is stored: a name, several names, or an attribute of a namespace.
struct Target {
  std::vector<int> symbols;  ///< more than one, or is_tuple: the value is unpacked
  bool is_tuple = false;
  std::string attribute;  ///< not empty: namespace attribute of symbols[0]
};

struct Statement;
using Body = std::vector<Statement>;

struct Parameter {
  int symbol = -1;
  std::string name;
  ExpressionPtr fallback;  ///< null: undefined when the call leaves it out
};

struct Branch;

struct Statement {
  enum class Kind {
    kText,        // text
    kPrint,       // expression
    kIf,          // branches; the last may have no condition
    kFor,         // target, expression (what to iterate), condition, body, else_body
    kSet,         // target, expression
    kSetBlock,    // target, body, expression = filter chain or null
    kMacro,       // symbol, text = name, parameters, body
    kGeneration,  // body
    kBreak,
    kContinue,
  };

  Kind kind;
  int line = 0;
  int symbol = -1;
  std::string text;
  Target target;
  ExpressionPtr expression;
  ExpressionPtr condition;
  std::vector<Branch> branches;
  std::vector<Parameter> parameters;
  Body body;
  Body else_body;
};

struct Branch {
  ExpressionPtr condition;  ///< null: else
  Body body;
};

struct Program {
  Body body;
  std::vector<std::string> symbols;  ///< name of each symbol number
  bool has_generation = false;       ///< is there a {% generation %} block?
};

}  // namespace phalanx::data::jinja
