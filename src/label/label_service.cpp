#include "label/label_service.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "core/error.h"
#include "label/agreement.h"
#include "label/answer_edit.h"
#include "label/page.h"

namespace phalanx::label {
namespace {

using core::Json;
using serve::HttpError;
using serve::Request;
using serve::Response;

constexpr size_t kMaxLabellerBytes = 160;
constexpr size_t kMaxLabellers = 1000;

Response json_response(const Json& json) {
  Response response;
  response.type = "application/json; charset=utf-8";
  response.body = core::to_text(json);
  return response;
}

/// A name that is shown, compared and stored: UTF-8 without control characters.
std::string checked_labeller(const std::string& name) {
  const bool is_blank = name.find_first_not_of(' ') == std::string::npos;
  if (is_blank || name.size() > kMaxLabellerBytes || core::printable(name, kMaxLabellerBytes) != name)
    throw HttpError(400, fmt::format("labeller must be a name of 1 to {} bytes", kMaxLabellerBytes));
  return name;
}

std::string text_field(const Json& body, const char* field) {
  if (!body.contains(field) || !body[field].is_string())
    throw HttpError(400, fmt::format("\"{}\" must be there, as text", field));
  return body[field].get<std::string>();
}

Json parse_body(const Request& request) {
  try {
    Json body = core::parse_json(request.body, "body");
    if (!body.is_object()) throw HttpError(400, "the body must be an object");
    return body;
  } catch (const core::Error& error) {
    throw HttpError(400, error.what());
  }
}

double seconds_of(const Json& body) {
  const bool is_number = body.contains("seconds") && body["seconds"].is_number();
  const double seconds = is_number ? body["seconds"].get<double>() : -1;
  if (!(seconds >= 0 && seconds <= 1e6)) throw HttpError(400, "\"seconds\" must be a number from 0 to 1e6");
  return seconds;
}

std::string now_utc() {
  const auto now = std::chrono::time_point_cast<std::chrono::seconds>(std::chrono::system_clock::now());
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(now)));
}

/// Left and right of the screen to first and second of the data.
Verdict verdict_of(const std::string& choice, bool first_left) {
  if (choice == "left") return first_left ? Verdict::kFirst : Verdict::kSecond;
  if (choice == "right") return first_left ? Verdict::kSecond : Verdict::kFirst;
  if (choice == "tie") return Verdict::kTie;
  if (choice == "both_bad") return Verdict::kBothBad;
  if (choice == "skip") return Verdict::kSkip;
  throw HttpError(400, "\"choice\" must be left, right, tie, both_bad or skip");
}

/// For every response: nothing is loaded from elsewhere, framed, guessed or cached.
void add_security_headers(Response& response) {
  response.headers.insert(
      response.headers.end(),
      {{"Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
       {"X-Content-Type-Options", "nosniff"},
       {"Referrer-Policy", "no-referrer"},
       {"Cross-Origin-Resource-Policy", "same-origin"},
       {"Cache-Control", "no-store"}});
}

}  // namespace

LabelService::LabelService(std::vector<AnswerPair> pairs, OrderOptions order, LabelStore& store,
                           serve::Access access, std::optional<int64_t> goal)
    : pairs_(std::move(pairs)),
      order_(std::move(order)),
      store_(store),
      access_(std::move(access)),
      goal_(goal) {
  for (size_t i = 0; i < pairs_.size(); ++i) place_of_.emplace(pairs_[i].id, i);
  is_finished_ = goal_ && num_preferences() >= *goal_;
}

int64_t LabelService::num_preferences() const {
  int64_t count = 0;
  const StandingAnswers standing = store_.standing();
  for (const auto& [time, answer] : standing.by_time())
    count += is_choice(answer.verdict) && place_of_.contains(answer.pair);
  return count;
}

Response LabelService::handle(const Request& request) {
  static const std::map<std::string, std::pair<std::string_view, Route>> routes = {
      {"/", {"GET", &LabelService::page}},
      {"/agreement", {"GET", &LabelService::page}},
      {"/label.css", {"GET", &LabelService::page}},
      {"/label.js", {"GET", &LabelService::page}},
      {"/api/state", {"GET", &LabelService::state}},
      {"/api/answer", {"POST", &LabelService::answer}},
      {"/api/undo", {"POST", &LabelService::undo}},
      {"/api/agreement", {"GET", &LabelService::agreement}},
      {"/api/finish", {"POST", &LabelService::finish}},
  };
  std::optional<Response> response = access_.check(request);
  if (!response) {
    const auto route = routes.find(request.path);
    if (route == routes.end()) throw HttpError(404, "there is no such page");
    if (request.method != route->second.first)
      throw HttpError(405, fmt::format("only {} is answered here", route->second.first));
    response = (this->*route->second.second)(request);
  }
  add_security_headers(*response);
  return *response;
}

Response LabelService::page(const Request& request) {
  Response response;
  const bool is_script = request.path.ends_with(".js"), is_style = request.path.ends_with(".css");
  response.type = is_script  ? "text/javascript; charset=utf-8"
                  : is_style ? "text/css; charset=utf-8"
                             : "text/html; charset=utf-8";
  response.body = is_script ? kPageScript : is_style ? kPageStyle : kPageHtml;
  return response;
}

Response LabelService::state(const Request& request) {
  const auto labeller = request.query.find("labeller");
  return json_response(state_of(checked_labeller(labeller == request.query.end() ? "" : labeller->second)));
}

Response LabelService::answer(const Request& request) {
  const Json body = parse_body(request);
  const AnswerPair& pair = find_pair(body);
  Answer answer;
  answer.labeller = checked_labeller(text_field(body, "labeller"));
  answer.pair = pair.id;
  answer.first_left = is_first_left(pair.id, answer.labeller, order_.seed);
  answer.verdict = verdict_of(text_field(body, "choice"), answer.first_left);
  answer.seconds = seconds_of(body);
  answer.time = now_utc();
  std::optional<std::string> edit;
  if (body.contains("edit")) edit = text_field(body, "edit");
  if (edit && !is_choice(answer.verdict)) throw HttpError(400, "only a better answer can be edited");
  if (is_choice(answer.verdict)) {
    try {
      answer.row = preference_row(pair, answer.verdict == Verdict::kFirst ? 0 : 1, edit, answer.labeller,
                                  answer.seconds, answer.time);
    } catch (const core::Error& error) {
      throw HttpError(422, error.what());
    }
  }
  store_.record(answer);
  if (goal_ && num_preferences() >= *goal_) is_finished_ = true;
  return json_response(state_of(answer.labeller));
}

Response LabelService::undo(const Request& request) {
  const Json body = parse_body(request);
  Answer answer;
  answer.labeller = checked_labeller(text_field(body, "labeller"));
  answer.pair = find_pair(body).id;
  answer.verdict = Verdict::kUndo;
  answer.time = now_utc();
  if (store_.has(answer.labeller, answer.pair)) store_.record(answer);  // else it is undone already
  return json_response(state_of(answer.labeller));
}

Response LabelService::agreement(const Request&) {
  return json_response(to_json(measure_agreement(store_.standing())));
}

Response LabelService::finish(const Request& request) {
  const std::string labeller = checked_labeller(text_field(parse_body(request), "labeller"));
  if (!goal_) throw HttpError(409, "nothing waits for these answers; labelling ends with the program");
  is_finished_ = true;
  return json_response(state_of(labeller));
}

Json LabelService::state_of(const std::string& labeller) {
  const AnswerPair* next = nullptr;
  int64_t num_answered = 0;
  for (const size_t i : order_of(labeller)) {
    if (store_.has(labeller, pairs_[i].id)) {
      ++num_answered;
    } else if (next == nullptr) {
      next = &pairs_[i];
    }
  }
  const std::string last = store_.last_pair_of(labeller);
  return {{"labeller", labeller},
          {"answered", num_answered},
          {"total", pairs_.size()},
          {"goal", goal_ ? Json(*goal_) : Json()},
          {"preferences", goal_ ? Json(num_preferences()) : Json()},
          {"finished", is_finished_.load()},
          {"last", place_of_.contains(last) ? Json(last) : Json()},
          {"question", next == nullptr ? Json() : question(*next, labeller)}};
}

Json LabelService::question(const AnswerPair& pair, const std::string& labeller) const {
  const size_t left = is_first_left(pair.id, labeller, order_.seed) ? 0 : 1;
  Json json = {{"pair", pair.id}, {"prompt", to_view(pair.prompt)}};
  for (const auto& [side, place] : {std::pair{"left", left}, std::pair{"right", 1 - left}}) {
    const std::optional<std::string> text = editable_text(pair.answers[place]);
    json[side] = {{"messages", to_view(pair.answers[place])}, {"edit", text ? Json(*text) : Json()}};
  }
  return json;
}

const std::vector<size_t>& LabelService::order_of(const std::string& labeller) {
  const std::lock_guard lock(orders_mutex_);
  const auto known = orders_.find(labeller);
  if (known != orders_.end()) return known->second;
  if (orders_.size() == kMaxLabellers) throw HttpError(503, "too many labellers");
  return orders_.emplace(labeller, question_order(pairs_, labeller, order_)).first->second;
}

const AnswerPair& LabelService::find_pair(const Json& body) const {
  const auto place = place_of_.find(text_field(body, "pair"));
  if (place == place_of_.end()) throw HttpError(404, "there is no such pair in the data");
  return pairs_[place->second];
}

}  // namespace phalanx::label
