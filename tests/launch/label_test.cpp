// `phalanx label` started wrongly. (Started rightly: tests/browser.)
#include <gtest/gtest.h>

#include "launch/program.h"
#include "serve/http_server.h"

namespace phalanx::launch {
namespace {

using test::Outcome;
using test::Workplace;

class LabelProgram : public testing::Test {
 protected:
  LabelProgram() {
    place.write("pairs.jsonl", "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\"}\n");
  }
  void expect_refused(const std::vector<std::string>& arguments, int exit_code, const std::string& part) {
    std::vector<std::string> words = {"label"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    const Outcome outcome = place.run(words, "", 20);
    EXPECT_FALSE(outcome.timed_out);
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
    EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
    EXPECT_EQ(outcome.err.find("error:"), outcome.err.rfind("error:")) << outcome.err;
  }
  Workplace place;
};

TEST_F(LabelProgram, WrongUseIsOneLineWithItsWayOut) {
  place.write("empty.jsonl", "");
  place.write("text.jsonl", "{\"text\": \"t\"}\n");
  expect_refused({}, 78, "label needs DATA and --out FILE");
  expect_refused({"pairs.jsonl"}, 78, "label needs DATA and --out FILE");
  expect_refused({"pairs.jsonl", "--out", "pairs.jsonl"}, 78, "is DATA itself");
  expect_refused({"missing.jsonl", "--out", "o.jsonl"}, 65, "missing.jsonl");
  expect_refused({"empty.jsonl", "--out", "o.jsonl"}, 65, "holds no record");
  expect_refused({"text.jsonl", "--out", "o.jsonl"}, 65, "line 1 (byte 0)");
  expect_refused({"pairs.jsonl", "--out", "no/o.jsonl", "--port", "0"}, 74, "its folder must exist");
  expect_refused({"pairs.jsonl", "--out", "o.jsonl", "--order", "clever"}, 78, "--order");
  expect_refused({"pairs.jsonl", "--out", "o.jsonl", "--order", "uncertain"}, 65, "--score names another");
  expect_refused({"pairs.jsonl", "--out", "o.jsonl", "--answers", "a"}, 78, "--answers");
  expect_refused({"pairs.jsonl", "--out", "o.jsonl", "--preferences", "0"}, 78, "--preferences");
  expect_refused({"pairs.jsonl", "--out", "o.jsonl", "--reward-model", "m", "--order", "file"}, 78,
                 "--order uncertain, but --order is file");
  expect_refused({"pairs.jsonl", "--out", "o.jsonl", "--reward-model", "no-model"}, 65, "no-model");
  expect_refused({"pairs.jsonl", "--out", "o.jsonl", "--host", "example.com"}, 78, "IP address");
  expect_refused({"--stats", "o.jsonl"}, 65, "o.jsonl.journal: no such file");
}

TEST_F(LabelProgram, ATakenPortIsRefusedBeforeAnythingIsWritten) {
  const serve::HttpServer server(serve::ServerOptions{});
  expect_refused({"pairs.jsonl", "--out", "o.jsonl", "--port", std::to_string(server.port())}, 78,
                 "or 0 for any free one");
  EXPECT_EQ(place.read("o.jsonl.journal"), "");
}

}  // namespace
}  // namespace phalanx::launch
