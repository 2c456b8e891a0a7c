#include "label/verdict.h"

#include "core/error.h"

namespace phalanx::label {
namespace {

constexpr std::pair<Verdict, std::string_view> kVerdicts[] = {
    {Verdict::kFirst, "first"},      {Verdict::kSecond, "second"}, {Verdict::kTie, "tie"},
    {Verdict::kBothBad, "both_bad"}, {Verdict::kSkip, "skip"},     {Verdict::kUndo, "undo"},
};

}  // namespace

std::string_view name(Verdict verdict) {
  for (const auto& [known, text] : kVerdicts) {
    if (known == verdict) return text;
  }
  return "";
}

Verdict parse_verdict(std::string_view name) {
  for (const auto& [verdict, text] : kVerdicts) {
    if (text == name) return verdict;
  }
  core::fail(core::ExitCode::kBadInput,
             "the verdict is {}, known are first, second, tie, both_bad, skip, undo",
             core::printable(name, 40));
}

core::Json to_json(const Answer& answer) {
  core::Json json = {{"time", answer.time},
                     {"labeller", answer.labeller},
                     {"pair", answer.pair},
                     {"verdict", name(answer.verdict)},
                     {"left", answer.first_left ? "first" : "second"},
                     {"seconds", answer.seconds}};
  if (!answer.row.is_null()) json["row"] = answer.row;
  return json;
}

Answer answer_from_json(const core::Json& json) {
  try {
    Answer answer;
    answer.time = json.at("time").get<std::string>();
    answer.labeller = json.at("labeller").get<std::string>();
    answer.pair = json.at("pair").get<std::string>();
    answer.verdict = parse_verdict(json.at("verdict").get<std::string>());
    answer.first_left = json.at("left").get<std::string>() == "first";
    answer.seconds = json.at("seconds").get<double>();
    if (is_choice(answer.verdict)) answer.row = json.at("row");
    return answer;
  } catch (const core::Json::exception&) {
    core::fail(
        core::ExitCode::kBadInput,
        "is not an answer: needed are time, labeller, pair, verdict, left, seconds, and row for a choice");
  }
}

void StandingAnswers::add(const Answer& answer) {
  const auto key = std::make_pair(answer.labeller, answer.pair);
  const auto place = places_.find(key);
  if (place != places_.end()) {
    answers_.erase(place->second);
    places_.erase(place);
  }
  if (answer.verdict == Verdict::kUndo) return;
  answers_.emplace(next_, answer);
  places_.emplace(key, next_++);
}

const Answer* StandingAnswers::find(const std::string& labeller, const std::string& pair) const {
  const auto place = places_.find({labeller, pair});
  return place == places_.end() ? nullptr : &answers_.at(place->second);
}

const Answer* StandingAnswers::last_of(const std::string& labeller) const {
  for (auto entry = answers_.rbegin(); entry != answers_.rend(); ++entry) {
    if (entry->second.labeller == labeller) return &entry->second;
  }
  return nullptr;
}

}  // namespace phalanx::label
