#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace phalanx::core {

/// What a text names, where it is a path that a run reads. A stage of a pipeline takes the result of another
/// one there, and runs again when the content behind the path changes. kModel: all weights; kAdapter: an
/// adapter alone; kAnyModel: either; kFile: anything, and it need not be there.
enum class PathOf { kNone, kModel, kAdapter, kAnyModel, kRecords, kFile };
/// Does a key that names `wanted` take what is `given`?
bool takes(PathOf wanted, PathOf given);
std::string_view name(PathOf of);  ///< "a model", for messages

/// Everything that parsing, errors, --help, docs/config.md and the JSON schema need to know about one key.
/// The default is the member's own initialiser.
struct FieldSpec {
  std::string help;                ///< one sentence
  std::string unit = {};           ///< "tokens", "steps", "s", ...
  std::optional<double> min = {};  ///< inclusive; of a list: for each element
  std::optional<double> max = {};  ///< inclusive
  bool above_min = false;          ///< `min` itself is not allowed
  std::vector<std::string> one_of = {};
  std::optional<int64_t> length = {};  ///< of a list: the number of elements
  bool one_or_many = false;            ///< of a list of strings: a single string stands for a list of one
  bool required_in_item = false;       ///< of a key in a list of maps: every map must have it
  bool secret = false;                 ///< never printed
  PathOf path = PathOf::kNone;         ///< of text or a list of texts
};

/// The value of one key, without its C++ type. std::monostate is null: an optional that is not set.
using Value =
    std::variant<std::monostate, bool, int64_t, double, std::string, std::vector<double>,
                 std::vector<std::string>, std::map<std::string, int64_t>, std::map<std::string, double>>;

/// kIntegersByName and kNumbersByName: a map whose keys are the user's own words.
enum class FieldKind {
  kBool,
  kInteger,
  kNumber,
  kString,
  kNumbers,
  kStrings,
  kIntegersByName,
  kNumbersByName,
  kMaps
};

/// One key of a section and how to reach its member; `void*` is the Options object that owns it.
struct Field {
  std::string name;
  FieldSpec spec;
  FieldKind kind;
  bool nullable = false;
  std::function<void(void*, const Value&)> set;
  std::function<Value(const void*)> get;

  // Lists of maps (kMaps) only: the keys of one map and access to the vector.
  std::vector<Field> item_fields = {};
  std::function<std::shared_ptr<void>()> make_item = {};
  std::function<void*(void*)> append = {};
  std::function<void(void*)> clear = {};
  std::function<std::vector<const void*>(const void*)> items = {};
};

/// Which member types a field may have. Anything else does not compile.
template <typename Member>
struct FieldTraits;
template <>
struct FieldTraits<bool> {
  static constexpr FieldKind kKind = FieldKind::kBool;
};
template <>
struct FieldTraits<int64_t> {
  static constexpr FieldKind kKind = FieldKind::kInteger;
};
template <>
struct FieldTraits<double> {
  static constexpr FieldKind kKind = FieldKind::kNumber;
};
template <>
struct FieldTraits<std::string> {
  static constexpr FieldKind kKind = FieldKind::kString;
};
template <>
struct FieldTraits<std::vector<double>> {
  static constexpr FieldKind kKind = FieldKind::kNumbers;
};
template <>
struct FieldTraits<std::vector<std::string>> {
  static constexpr FieldKind kKind = FieldKind::kStrings;
};
template <>
struct FieldTraits<std::map<std::string, int64_t>> {
  static constexpr FieldKind kKind = FieldKind::kIntegersByName;
};
template <>
struct FieldTraits<std::map<std::string, double>> {
  static constexpr FieldKind kKind = FieldKind::kNumbersByName;
};

/// Declares the keys of one section; `Options` is a plain struct whose members carry the defaults.
/// Member types: bool, int64_t, double, std::string, std::vector<double>, std::vector<std::string>,
/// std::map from std::string to int64_t or double, std::optional of bool/int64_t/double/std::string, and
/// std::vector<Sub> for lists of maps (by `list`, with an own SectionBuilder<Sub>).
template <typename Options>
class SectionBuilder {
 public:
  template <typename Member>
  SectionBuilder& field(std::string name, Member Options::*member, FieldSpec spec) {
    fields.push_back({.name = std::move(name),
                      .spec = std::move(spec),
                      .kind = FieldTraits<Member>::kKind,
                      .set = [member](void* o, const Value& v) { at(o).*member = std::get<Member>(v); },
                      .get = [member](const void* o) { return Value(at(o).*member); }});
    return *this;
  }

  template <typename Member>
  SectionBuilder& field(std::string name, std::optional<Member> Options::*member, FieldSpec spec) {
    const auto set = [member](void* o, const Value& v) {
      at(o).*member =
          std::holds_alternative<std::monostate>(v) ? std::nullopt : std::optional(std::get<Member>(v));
    };
    fields.push_back(
        {.name = std::move(name),
         .spec = std::move(spec),
         .kind = FieldTraits<Member>::kKind,
         .nullable = true,
         .set = set,
         .get = [member](const void* o) { return at(o).*member ? Value(*(at(o).*member)) : Value(); }});
    return *this;
  }

  template <typename Sub>
  SectionBuilder& list(std::string name, std::vector<Sub> Options::*member, FieldSpec spec,
                       const std::function<void(SectionBuilder<Sub>&)>& declare_item) {
    SectionBuilder<Sub> item;
    declare_item(item);
    const auto items = [member](const void* o) {
      std::vector<const void*> pointers;
      for (const Sub& sub : at(o).*member) pointers.push_back(&sub);
      return pointers;
    };
    fields.push_back({.name = std::move(name),
                      .spec = std::move(spec),
                      .kind = FieldKind::kMaps,
                      .set = {},
                      .get = {},
                      .item_fields = std::move(item.fields),
                      .make_item = [] { return std::static_pointer_cast<void>(std::make_shared<Sub>()); },
                      .append = [member](void* o) -> void* { return &(at(o).*member).emplace_back(); },
                      .clear = [member](void* o) { (at(o).*member).clear(); },
                      .items = items});
    return *this;
  }

  /// Leaving the section out means something else than giving it with all defaults (`lora`): it is then not
  /// printed, and the code that uses it asks Config::has() first.
  SectionBuilder& only_when_present() {
    is_optional = true;
    return *this;
  }

  std::vector<Field> fields;
  bool is_optional = false;

 private:
  static Options& at(void* options) { return *static_cast<Options*>(options); }
  static const Options& at(const void* options) { return *static_cast<const Options*>(options); }
};

/// A key of `Part` (not a list of maps) as one of `Whole`, which has a Part in `member`.
template <typename Whole, typename Part>
Field within(Field field, Part Whole::*member) {
  const auto set = field.set;
  const auto get = field.get;
  field.set = [set, member](void* o, const Value& v) { set(&(static_cast<Whole*>(o)->*member), v); };
  field.get = [get, member](const void* o) { return get(&(static_cast<const Whole*>(o)->*member)); };
  return field;
}

}  // namespace phalanx::core
