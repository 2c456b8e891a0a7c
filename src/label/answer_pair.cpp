#include "label/answer_pair.h"

#include <charconv>
#include <unordered_set>

#include "core/error.h"
#include "core/hash.h"
#include "data/record_formats.h"
#include "data/record_reader.h"

namespace phalanx::label {
namespace {

using core::Json;
using data::jinja::Dict;
using data::jinja::Value;

template <typename... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) {
  core::fail(core::ExitCode::kBadInput, format, std::forward<Args>(args)...);
}

/// What JSON can hold came from JSON or CSV, so that nothing else is in `value`.
Json to_json_value(const Value& value) {
  if (value.is_text()) return value.text();
  if (value.is_bool()) return value.boolean();
  if (value.is_int()) return value.integer();
  if (value.is_double()) return data::jinja::to_double(value);
  if (value.is_list()) {
    Json list = Json::array();
    for (const Value& item : value.items()) list.push_back(to_json_value(item));
    return list;
  }
  if (value.is_dict()) {
    Json object = Json::object();
    for (const auto& [key, item] : value.dict().items()) object[key.text()] = to_json_value(item);
    return object;
  }
  return nullptr;
}

/// A prompt and its answers, of which every two are a question.
struct Question {
  Json prompt, tools;
  std::vector<Json> answers;
};

Json text_or_messages(const Value& value, const std::string& name) {
  if (value.is_text()) return value.text();
  const Value messages = value.is_dict() ? Value(std::vector<Value>{value}) : value;
  data::check_messages(messages, name);
  return to_json_value(messages);
}

Json prompt_of(const Dict& object, const std::string& field) {
  const Value* prompt = object.find(std::string_view(field));
  if (prompt != nullptr) return text_or_messages(*prompt, field);
  const Value* messages = object.find("messages");
  if (messages != nullptr) return text_or_messages(*messages, "messages");
  refuse("the prompt is missing: there is no \"{}\" and no \"messages\"; --prompt names another field",
         field);
}

Question from_fields(const Dict& object, const PairOptions& options) {
  Question question = {
      prompt_of(object, options.prompt_field), to_json_value(data::optional_tools(object)), {}};
  for (const std::string& field : options.answer_fields)
    question.answers.push_back(text_or_messages(data::required(object, field), field));
  return question;
}

Question from_completions(const Dict& object, const PairOptions& options) {
  Question question = {
      prompt_of(object, options.prompt_field), to_json_value(data::optional_tools(object)), {}};
  const auto& completions = data::required_list(object, "completions");
  if (completions.size() < 2)
    refuse("\"completions\" has {} answers, at least 2 are needed", completions.size());
  for (const Value& completion : completions)
    question.answers.push_back(text_or_messages(completion, "completions"));
  return question;
}

Question from_preference(const Value& value) {
  const data::Record record = data::read_record(value, "auto");
  if (record.kind != data::Record::Kind::kPreference) {
    refuse(
        "the record is of format {}, which has no two answers; needed are \"chosen\" and \"rejected\", or "
        "\"completions\", or --answers with the names of two fields",
        record.format);
  }
  const data::Record& chosen = record.answers[0];
  Question question;
  if (chosen.kind == data::Record::Kind::kPair) {
    question.prompt = chosen.prompt;
    for (const data::Record& answer : record.answers) question.answers.push_back(answer.text);
    return question;
  }
  const auto part = [](const data::Record& answer, bool is_prompt) {
    Json messages = Json::array();
    for (size_t i = 0; i < answer.messages.items().size(); ++i) {
      if ((i < answer.num_prompt_messages) == is_prompt)
        messages.push_back(to_json_value(answer.messages.items()[i]));
    }
    return messages;
  };
  question.prompt = part(chosen, true);
  question.tools = to_json_value(chosen.tools);
  for (const data::Record& answer : record.answers) question.answers.push_back(part(answer, false));
  return question;
}

Question read_question(const Value& value, const PairOptions& options) {
  if (!value.is_dict()) refuse("the record is {} but must be an object", data::jinja::type_name(value));
  if (!options.answer_fields.empty()) return from_fields(value.dict(), options);
  if (value.dict().find("completions") != nullptr && value.dict().find("labels") == nullptr)
    return from_completions(value.dict(), options);
  return from_preference(value);
}

double number_of(const Value& value, const std::string& name) {
  if (value.is_number() && !value.is_bool()) return data::jinja::to_double(value);
  double number = 0;
  if (value.is_text()) {  // CSV has nothing else
    const std::string& text = value.text();
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc() && end == text.data() + text.size() && number - number == 0) return number;
  }
  refuse("\"{}\" is {} but must be a finite number, or a list with one for each answer", name,
         core::printable(data::jinja::repr(value), 40));
}

/// Score of answer i less that of answer k.
double margin_of(const Dict& object, const PairOptions& options, size_t num_answers, size_t i, size_t k) {
  for (const std::string& name : options.score_field.empty()
                                     ? std::vector<std::string>{"margin", "scores"}
                                     : std::vector<std::string>{options.score_field}) {
    const Value* value = object.find(std::string_view(name));
    if (value == nullptr || value->is_none()) continue;
    if (!value->is_list() && num_answers > 2)
      refuse("\"{}\" must be a list with a score for each of the {} answers", name, num_answers);
    if (!value->is_list()) return number_of(*value, name);
    if (value->items().size() != num_answers)
      refuse("\"{}\" has {} scores for {} answers", name, value->items().size(), num_answers);
    return number_of(value->items()[i], name) - number_of(value->items()[k], name);
  }
  if (options.score_field.empty() && object.find("score_chosen") && object.find("score_rejected")) {
    return number_of(*object.find("score_chosen"), "score_chosen") -
           number_of(*object.find("score_rejected"), "score_rejected");
  }
  refuse("there is no score, which --order uncertain needs: {}",
         options.score_field.empty() ? "a field \"margin\", \"scores\", or \"score_chosen\" and "
                                       "\"score_rejected\"; --score names another"
                                     : fmt::format("the field \"{}\" of --score is missing",
                                                   core::printable(options.score_field, 60)));
}

AnswerPair make_question(const Question& question, size_t i, size_t k) {
  AnswerPair pair = {{}, question.prompt, {question.answers[i], question.answers[k]}, question.tools, {}};
  core::Hasher hasher;
  for (const Json* part : {&pair.prompt, &pair.answers[0], &pair.answers[1], &pair.tools})
    hasher.add_field(core::to_text(*part));
  pair.id = hasher.digest_128().hex();
  return pair;
}

void add_pairs(const Value& value, const PairOptions& options, std::unordered_set<std::string>& seen,
               PairFile& file) {
  const Question question = read_question(value, options);
  for (size_t i = 0; i < question.answers.size(); ++i) {
    for (size_t k = i + 1; k < question.answers.size(); ++k) {
      AnswerPair pair = make_question(question, i, k);
      if (pair.answers[0] == pair.answers[1]) {
        ++file.num_equal;
      } else if (seen.contains(make_question(question, k, i).id) || !seen.insert(pair.id).second) {
        ++file.num_repeated;
      } else {
        if (options.needs_margin)
          pair.margin = margin_of(value.dict(), options, question.answers.size(), i, k);
        file.pairs.push_back(std::move(pair));
      }
    }
  }
}

}  // namespace

PairFile read_pairs(const std::string& path, const PairOptions& options) {
  const auto reader = data::open_records(path);
  PairFile file;
  std::unordered_set<std::string> seen;
  for (data::RawRecord raw; reader->next(raw); ++file.num_records) {
    try {
      if (!raw.problem.empty()) refuse("{}", raw.problem);
      add_pairs(reader->parse(raw), options, seen, file);
    } catch (const core::Error& error) {
      refuse("{}: line {} (byte {}): {}", path, raw.line, raw.byte, error.what());
    }
  }
  if (file.num_records == 0)
    refuse("{}: holds no record; two answers to a prompt are needed to choose", path);
  if (file.pairs.empty()) {
    refuse("{}: the answers of all {} records are equal, so that there is nothing to choose", path,
           file.num_records);
  }
  return file;
}

}  // namespace phalanx::label
