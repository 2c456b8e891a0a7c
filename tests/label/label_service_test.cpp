#include "label/label_service.h"

#include "label/label_test_util.h"

namespace phalanx::label {
namespace {

using core::Json;
using test::contains;

class LabelServiceTest : public testing::Test {
 protected:
  LabelServiceTest() : store(folder.path("prefs.jsonl")) {
    std::string text;
    for (const char* prompt : {"one", "two", "three"})
      text += fmt::format(
          "{{\"prompt\": \"{0}\", \"chosen\": \"good {0}\", \"rejected\": \"poor {0}\", \"secret\": 7}}\n",
          prompt);
    PairFile file = read_pairs(folder.write("data.jsonl", text), {});
    service = std::make_unique<LabelService>(std::move(file.pairs), OrderOptions{}, store, serve::Access({}));
  }

  serve::Response send(const std::string& method, const std::string& path, const std::string& body = "",
                       std::map<std::string, std::string> query = {}) {
    serve::Request request;
    request.method = method;
    request.path = path;
    request.body = body;
    request.query = std::move(query);
    request.headers = {{"host", "localhost"}, {"content-type", "application/json"}};
    return service->handle(request);
  }
  Json state(const std::string& labeller) {
    return Json::parse(send("GET", "/api/state", "", {{"labeller", labeller}}).body);
  }
  Json answer(const std::string& labeller, const std::string& pair, const std::string& choice,
              Json more = {}) {
    Json body = {{"labeller", labeller}, {"pair", pair}, {"choice", choice}, {"seconds", 2.5}};
    if (!more.is_null()) body.update(more);
    return Json::parse(send("POST", "/api/answer", body.dump()).body);
  }
  Json undo(const std::string& labeller, const Json& pair) {
    return Json::parse(send("POST", "/api/undo", Json({{"labeller", labeller}, {"pair", pair}}).dump()).body);
  }
  int status_of(const std::function<void()>& run) {
    try {
      run();
    } catch (const serve::HttpError& error) {
      return error.status();
    }
    return 200;
  }

  test::Folder folder;
  LabelStore store;
  std::unique_ptr<LabelService> service;
};

TEST_F(LabelServiceTest, LabellersHaveQueuesOfTheirOwn) {
  Json ann = state("ann");
  EXPECT_EQ(ann["question"]["prompt"][0]["text"], "one");
  ann = answer("ann", ann["question"]["pair"], "tie");
  EXPECT_EQ(ann["answered"], 1);
  EXPECT_EQ(ann["total"], 3);
  EXPECT_EQ(ann["question"]["prompt"][0]["text"], "two");
  EXPECT_EQ(state("bob")["question"]["prompt"][0]["text"], "one");
  for (int i = 0; i < 2; ++i) ann = answer("ann", ann["question"]["pair"], "skip");
  EXPECT_TRUE(ann["question"].is_null());
}

TEST_F(LabelServiceTest, TheSideThatWasChosenIsTheAnswerThatIsSaved) {
  for (const char* choice : {"left", "right"}) {
    for (int i = 0; i < 3; ++i) {
      const Json question = state(choice)["question"];
      answer(choice, question["pair"], choice);
      const std::string rows = folder.read("prefs.jsonl");
      const size_t last = rows.rfind('\n', rows.size() - 2);
      const Json row = Json::parse(rows.substr(last == std::string::npos ? 0 : last + 1));
      EXPECT_EQ(row["chosen"], question[choice]["messages"][0]["text"]);
      EXPECT_NE(row["chosen"], row["rejected"]);
      EXPECT_EQ(row["labeller"], choice);
      EXPECT_EQ(row["seconds"], 2.5);
    }
  }
}

TEST_F(LabelServiceTest, NothingTellsWhereAnAnswerComesFrom) {
  const std::string text = state("ann").dump();
  for (const char* word : {"chosen", "rejected", "secret", "first", "second", "margin"})
    EXPECT_FALSE(contains(text, word)) << text;
}

TEST_F(LabelServiceTest, UndoBringsThePairBackAndTwiceIsOnce) {
  const Json first = state("ann")["question"]["pair"];
  Json now = answer("ann", first, "left");
  EXPECT_EQ(now["last"], first);
  now = undo("ann", first);
  EXPECT_EQ(now["question"]["pair"], first);
  EXPECT_EQ(now["answered"], 0);
  EXPECT_TRUE(now["last"].is_null());
  undo("ann", first);
  EXPECT_EQ(folder.read("prefs.jsonl"), "");
  EXPECT_EQ(test::count_lines(folder.read("prefs.jsonl.journal")), 3);
}

TEST_F(LabelServiceTest, EditedAnswersAreSaved) {
  const Json question = state("ann")["question"];
  answer("ann", question["pair"], "left", {{"edit", "in my words"}});
  const Json row = Json::parse(folder.read("prefs.jsonl"));
  EXPECT_EQ(row["chosen"], "in my words");
  EXPECT_EQ(row["original"], question["left"]["edit"]);
  const std::string pair = question["pair"];
  EXPECT_EQ(status_of([&] { answer("ann", pair, "left", {{"edit", " "}}); }), 422);
  EXPECT_EQ(status_of([&] { answer("ann", pair, "left", {{"edit", question["right"]["edit"]}}); }), 422);
  EXPECT_EQ(status_of([&] { answer("ann", pair, "tie", {{"edit", "x"}}); }), 400);
}

TEST_F(LabelServiceTest, WrongRequestsAreRefusedAndSaveNothing) {
  const std::string pair = state("ann")["question"]["pair"];
  const std::string journal = folder.read("prefs.jsonl.journal");
  EXPECT_EQ(status_of([&] { answer("ann", "nothing", "left"); }), 404);
  EXPECT_EQ(status_of([&] { answer("ann", pair, "up"); }), 400);
  EXPECT_EQ(status_of([&] { answer("ann", pair, "left", {{"seconds", -1}}); }), 400);
  EXPECT_EQ(status_of([&] { answer("ann", pair, "left", {{"seconds", "1"}}); }), 400);
  for (const std::string& name :
       {std::string(), std::string(" "), std::string("a\nb"), std::string(161, 'a')}) {
    EXPECT_EQ(status_of([&] { answer(name, pair, "left"); }), 400) << name;
    EXPECT_EQ(status_of([&] { state(name); }), 400) << name;
  }
  for (const char* body :
       {"", "[]", "{", "{\"labeller\": \"a\"}", "{\"labeller\":\"a\",\"labeller\":\"a\"}", "\xFF"})
    EXPECT_EQ(status_of([&] { send("POST", "/api/answer", body); }), 400) << body;
  EXPECT_EQ(status_of([&] { send("GET", "/api/answer"); }), 405);
  EXPECT_EQ(status_of([&] { send("DELETE", "/"); }), 405);
  for (const char* path : {"/../etc/passwd", "//", "/label.js/", "/prefs.jsonl", "/api", "/index.html", "/."})
    EXPECT_EQ(status_of([&] { send("GET", path); }), 404) << path;
  EXPECT_EQ(folder.read("prefs.jsonl.journal"), journal);
}

TEST_F(LabelServiceTest, EndsWhenTheGoalIsReachedOrSomebodySaysSo) {
  EXPECT_EQ(status_of([&] { send("POST", "/api/finish", R"({"labeller": "ann"})"); }), 409);
  const auto with_goal = [&](int64_t goal) {
    PairFile file = read_pairs(folder.path("data.jsonl"), {});
    service =
        std::make_unique<LabelService>(std::move(file.pairs), OrderOptions{}, store, serve::Access({}), goal);
  };
  with_goal(2);
  EXPECT_EQ(state("ann")["goal"], 2);
  answer("ann", state("ann")["question"]["pair"], "tie");  // no preference
  Json ann = answer("ann", state("ann")["question"]["pair"], "left");
  EXPECT_EQ(ann["preferences"], 1);
  EXPECT_FALSE(ann["finished"]);
  EXPECT_TRUE(answer("bob", state("bob")["question"]["pair"], "right")["finished"]);
  EXPECT_TRUE(service->is_finished());
  with_goal(2);
  EXPECT_TRUE(service->is_finished()) << "also after a restart";
  with_goal(3);
  EXPECT_FALSE(service->is_finished());
  EXPECT_TRUE(Json::parse(send("POST", "/api/finish", R"({"labeller": "ann"})").body)["finished"]);
  EXPECT_TRUE(service->is_finished());
}

TEST_F(LabelServiceTest, ThePageIsWholeAndLoadsNothingFromElsewhere) {
  const auto header = [](const serve::Response& response, const std::string& name) {
    for (const auto& [known, value] : response.headers) {
      if (known == name) return value;
    }
    return std::string();
  };
  const serve::Response page = send("GET", "/");
  EXPECT_EQ(page.type, "text/html; charset=utf-8");
  EXPECT_TRUE(contains(page.body, "</html>"));
  EXPECT_TRUE(contains(header(page, "Content-Security-Policy"), "default-src 'none'"));
  EXPECT_TRUE(contains(send("GET", "/label.css").body, "prefers-color-scheme: dark"));
  EXPECT_TRUE(contains(send("GET", "/label.js").body, "/api/answer"));
  EXPECT_EQ(send("GET", "/agreement").body, page.body);
  for (const char* path : {"/", "/label.css", "/label.js"}) {
    const std::string body = send("GET", path).body;
    for (size_t at = body.find("http"); at != std::string::npos; at = body.find("http", at + 1))
      EXPECT_EQ(body.substr(at, 18), "http://www.w3.org/") << path;
    EXPECT_FALSE(contains(body, "innerHTML")) << path;
  }
}

}  // namespace
}  // namespace phalanx::label
