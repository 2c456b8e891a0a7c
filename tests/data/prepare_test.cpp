#include "data/prepare.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <map>

#include "core/log.h"
#include "data_test_util.h"
#include "fake_tokenizer.h"

namespace phalanx::data {
namespace {

using nlohmann::ordered_json;

class Prepare : public ::testing::Test {
 protected:
  Prepare() { core::set_up_log({.is_quiet = true}); }
  ~Prepare() override { core::set_up_log({}); }

  PrepareOptions options(const std::vector<std::string>& files) {
    PrepareOptions made;
    for (const std::string& file : files) made.sources.push_back({file});
    made.data.train = made.sources;
    made.data.sequence_length = 64;
    made.data.loss_on = "completion";
    made.chat_template = read_text(golden_path("smollm2.jinja"));
    made.cache_dir = folder_.path("cache");
    made.quarantine = folder_.path("quarantine.jsonl");
    return made;
  }

  Dataset run(const PrepareOptions& options) { return prepare(options, tokenizer_, &built_); }

  std::vector<ordered_json> quarantine() {
    std::vector<ordered_json> lines;
    std::ifstream file(folder_.path("quarantine.jsonl"));
    for (std::string line; std::getline(file, line);) lines.push_back(ordered_json::parse(line));
    return lines;
  }

  std::string cache_file() {
    return std::filesystem::directory_iterator(folder_.path("cache"))->path().string();
  }

  std::string pairs(int count, int longest = 40) {
    std::string text;
    for (int i = 0; i < count; ++i) {
      text += fmt::format("{{\"prompt\":\"p{}\",\"completion\":\"{}\"}}\n", i,
                          std::string(static_cast<size_t>(1 + i * 7 % longest), 'c'));
    }
    return text;
  }

  TemporaryFolder folder_;
  FakeTokenizer tokenizer_ = chatml_tokenizer();
  bool built_ = false;
};

std::string text_of(const Sequence& sequence, const Tokenizer& tokenizer) {
  return tokenizer.decode(std::vector<TokenId>(sequence.input_ids.begin(), sequence.input_ids.end()), false);
}

TEST_F(Prepare, ShiftsLabelsInsideEachSample) {
  const Dataset dataset = run(options({folder_.write("a.jsonl", R"({"prompt":"ab","completion":"c"})")}));
  ASSERT_EQ(dataset.num_sequences(), 1);
  const Sequence sequence = dataset.sequence(0);
  EXPECT_EQ(text_of(sequence, tokenizer_), "abc<|im_end|>");
  const auto ignored = static_cast<int32_t>(kIgnoredLabel);
  EXPECT_EQ(sequence.labels, (std::vector<int32_t>{ignored, 'c', *tokenizer_.special_tokens().eos, ignored}));
  EXPECT_EQ(sequence.position_ids, (std::vector<int32_t>{0, 1, 2, 3}));
  EXPECT_EQ(sequence.lengths, (std::vector<int32_t>{4}));
  EXPECT_EQ(dataset.report()["target_tokens"], 2);
}

TEST_F(Prepare, PacksTheSameSamplesThatItGivesUnpacked) {
  PrepareOptions packed = options({folder_.write("a.jsonl", pairs(300))});
  PrepareOptions single = packed;
  packed.data.packing = true;
  const Dataset rows = run(packed), samples = run(single);
  EXPECT_LT(rows.num_sequences(), samples.num_sequences() / 2);
  std::map<int64_t, std::string> expected, found;
  for (int64_t i = 0; i < samples.num_sequences(); ++i) {
    const Sequence sequence = samples.sequence(i);
    expected[sequence.record_ids[0]] = text_of(sequence, tokenizer_);
  }
  for (int64_t i = 0; i < rows.num_sequences(); ++i) {
    const Sequence row = rows.sequence(i);
    EXPECT_LE(row.input_ids.size(), 64u);
    size_t at = 0;
    for (size_t s = 0; s < row.lengths.size(); ++s) {
      const size_t end = at + static_cast<size_t>(row.lengths[s]);
      Sequence sample;
      sample.input_ids.assign(row.input_ids.begin() + static_cast<int64_t>(at),
                              row.input_ids.begin() + static_cast<int64_t>(end));
      found[row.record_ids[s]] = text_of(sample, tokenizer_);
      EXPECT_EQ(row.position_ids[at], 0);
      EXPECT_EQ(row.labels[end - 1], kIgnoredLabel);  // never the neighbour's first token
      at = end;
    }
    EXPECT_EQ(at, row.input_ids.size());
  }
  EXPECT_EQ(found, expected);
}

TEST_F(Prepare, SplitsDocumentsWithoutLosingATokenOrATarget) {
  std::string text;
  for (int i = 0; i < 20; ++i)
    text += fmt::format("{{\"text\":\"{}\"}}\n",
                        std::string(static_cast<size_t>(30 + 17 * i), static_cast<char>('a' + i)));
  for (const bool packing : {false, true}) {
    PrepareOptions with = options({folder_.write("a.jsonl", text)});
    with.data.packing = packing;
    const Dataset dataset = run(with);
    std::map<int64_t, int64_t> tokens, targets;
    for (int64_t i = 0; i < dataset.num_sequences(); ++i) {
      const Sequence row = dataset.sequence(i);
      size_t at = 0;
      for (size_t s = 0; s < row.lengths.size(); ++s) {
        for (int32_t t = 0; t < row.lengths[s]; ++t, ++at) {
          ++tokens[row.record_ids[s]];
          targets[row.record_ids[s]] += row.labels[at] != kIgnoredLabel ? 1 : 0;
        }
      }
    }
    for (int i = 0; i < 20; ++i) {
      EXPECT_EQ(tokens[i], 30 + 17 * i + 1) << packing;  // and EOS
      EXPECT_EQ(targets[i], 30 + 17 * i) << packing;
    }
    EXPECT_EQ(dataset.report()["target_tokens"].get<int64_t>(),
              dataset.report()["tokens"].get<int64_t>() - 20);
  }
}

TEST_F(Prepare, MapsTheCacheTheSecondTime) {
  const PrepareOptions with = options({folder_.write("a.jsonl", pairs(500))});
  const Dataset first = run(with);
  EXPECT_TRUE(built_);
  const Dataset second = run(with);
  EXPECT_FALSE(built_);
  ASSERT_EQ(first.num_sequences(), second.num_sequences());
  for (int64_t i = 0; i < first.num_sequences(); ++i)
    EXPECT_EQ(first.sequence(i).labels, second.sequence(i).labels);
  EXPECT_EQ(first.report(), second.report());
}

TEST_F(Prepare, BuildsAgainWhenAnythingThatMattersChanges) {
  const std::string path = folder_.write("a.jsonl", pairs(5));
  PrepareOptions with = options({path});
  run(with);
  const std::vector<std::function<void()>> changes = {
      [&] { with.data.sequence_length = 65; },
      [&] { with.data.packing = true; },
      [&] { with.data.loss_on = "all"; },
      [&] { with.data.on_too_long = "truncate"; },
      [&] { with.data.special_tokens_in_content = "literal"; },
      [&] { with.chat_template += " "; },
      [&] { tokenizer_ = llama3_tokenizer(); },
      [&] { folder_.write("a.jsonl", pairs(6)); },
      [&] { with.sources[0].format = "prompt_completion"; },
      [&] { with.sources[0].documents = "line"; }};
  for (size_t i = 0; i < changes.size(); ++i) {
    changes[i]();
    run(with);
    EXPECT_TRUE(built_) << "change " << i;
    run(with);
    EXPECT_FALSE(built_) << "change " << i;
  }
}

TEST_F(Prepare, RefusesADamagedCacheAndBuildsItAgain) {
  const PrepareOptions with = options({folder_.write("a.jsonl", pairs(50))});
  const ordered_json report = run(with).report();
  const std::string path = cache_file();
  const std::string good = read_text(path);
  const auto write = [&](const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; };
  for (size_t at = 0; at < good.size(); at += 1 + good.size() / 200) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    write(bad);
    EXPECT_EQ(run(with).report(), report);
    EXPECT_TRUE(built_) << "flipped byte " << at;
  }
  for (const size_t size :
       {size_t{0}, size_t{10}, size_t{71}, size_t{72}, good.size() / 2, good.size() - 1}) {
    write(good.substr(0, size));
    run(with);
    EXPECT_TRUE(built_) << "cut to " << size;
  }
  write(good + "x");
  run(with);
  EXPECT_TRUE(built_);
  run(with);
  EXPECT_FALSE(built_);
}

TEST_F(Prepare, PutsExactlyTheBadLinesIntoQuarantine) {
  const std::string path = folder_.write("a.jsonl",
                                         "{\"prompt\":\"a\",\"completion\":\"b\"}\n"
                                         "nonsense\n"
                                         "\n"
                                         "{\"prompt\":\"a\"}\n"
                                         "{\"prompt\":\"" +
                                             std::string(100, 'x') +
                                             "\",\"completion\":\"too long\"}\n"
                                             "{\"prompt\":\"a\",\"completion\":\"c\"}\n"
                                             "{\"prompt\":\"a\",\"completion\":\"cut sho");
  PrepareOptions with = options({path});
  with.data.max_bad_records = 3;
  for (const bool cached : {false, true}) {
    std::filesystem::remove(with.quarantine);
    const Dataset dataset = run(with);
    EXPECT_EQ(built_, !cached);
    const auto lines = quarantine();
    ASSERT_EQ(lines.size(), 3u) << "cached " << cached;
    EXPECT_EQ(lines[0]["file"], path);
    EXPECT_EQ(lines[0]["line"], 2);
    EXPECT_EQ(lines[0]["byte"], 32);
    EXPECT_EQ(lines[1]["line"], 4);
    EXPECT_EQ(lines[2]["line"], 7);
    const ordered_json& report = dataset.report();
    int64_t dropped = 0;
    for (const auto& drop : report["drops"].items()) dropped += drop.value().get<int64_t>();
    EXPECT_EQ(report["records"], 6);
    EXPECT_EQ(report["records"].get<int64_t>(),
              report["bad_records"].get<int64_t>() + dropped + report["samples"].get<int64_t>());
  }
}

TEST_F(Prepare, StopsAtOneBadRecordMoreThanAllowedAndNamesIt) {
  const std::string path = folder_.write("a.jsonl", pairs(3) + "nonsense\n" + pairs(1) + "[]\n" + pairs(1));
  PrepareOptions with = options({path});
  EXPECT_NE(error_of([&] { run(with); }).find(path + ": line 4"), std::string::npos);
  with.data.max_bad_records = 1;
  EXPECT_NE(error_of([&] { run(with); }).find("line 6"), std::string::npos);
  EXPECT_EQ(quarantine().size(), 2u);
  with.data.max_bad_records = 2;
  EXPECT_EQ(run(with).num_sequences(), 5);
}

TEST_F(Prepare, KeepsTheQuarantineOfTheOtherDataSet) {
  PrepareOptions train = options({folder_.write("train.jsonl", pairs(2) + "bad\n")});
  train.data.max_bad_records = 1;
  train.data.eval = {{folder_.write("eval.jsonl", "bad too\n" + pairs(2))}};
  PrepareOptions eval = train;
  eval.sources = train.data.eval;
  for (int i = 0; i < 2; ++i) {  // built, then cached
    run(train);
    run(eval);
    ASSERT_EQ(quarantine().size(), 2u);
  }
  train.data.eval.clear();
  run(train);
  EXPECT_EQ(quarantine().size(), 1u);
}

TEST_F(Prepare, FindsTheFormatBehindABadFirstLine) {
  PrepareOptions with = options({folder_.write("a.jsonl", "nonsense\n" + pairs(2))});
  with.data.max_bad_records = 1;
  EXPECT_EQ(run(with).report()["sources"][0]["format"], "prompt_completion");
}

TEST_F(Prepare, NeedsAUsableRecord) {
  PrepareOptions with = options({folder_.write("a.jsonl", "")});
  EXPECT_NE(error_of([&] { run(with); }).find("no line at all"), std::string::npos);
  with = options({folder_.write("b.jsonl", "x\n")});
  with.data.max_bad_records = 10;
  EXPECT_NE(error_of([&] { run(with); }).find("no usable record"), std::string::npos);
  with =
      options({folder_.write("c.jsonl", R"({"prompt":"","completion":")" + std::string(100, 'x') + "\"}")});
  EXPECT_NE(error_of([&] { run(with); }).find("longer than data.sequence_length"), std::string::npos);
}

TEST_F(Prepare, AppliesOnTooLong) {
  const std::string long_prompt = R"({"prompt":")" + std::string(100, 'p') + R"(","completion":"c"})" + "\n";
  const std::string long_answer = R"({"prompt":"p","completion":")" + std::string(100, 'c') + "\"}\n";
  PrepareOptions with = options({folder_.write("a.jsonl", pairs(2) + long_prompt + long_answer)});
  Dataset dropped = run(with);
  EXPECT_EQ(dropped.num_sequences(), 2);
  EXPECT_EQ(dropped.report()["drops"]["longer than data.sequence_length"], 2);
  with.data.on_too_long = "truncate";
  const Dataset cut = run(with);
  EXPECT_EQ(cut.num_sequences(), 3);
  EXPECT_EQ(cut.sequence(2).input_ids.size(), 64u);
  EXPECT_EQ(cut.report()["truncated"], 1);
  EXPECT_EQ(cut.report()["drops"]["no target left after cutting to data.sequence_length"], 1);
  with.data.on_too_long = "error";
  EXPECT_NE(error_of([&] { run(with); }).find("line 3"), std::string::npos);
}

TEST_F(Prepare, RefusesAFileThatIsListedTwiceOrIsNoFile) {
  const std::string path = folder_.write("a.jsonl", pairs(2));
  error_of([&] { run(options({path, folder_.path("./a.jsonl")})); }, core::ExitCode::kBadConfig);
  std::filesystem::create_symlink(path, folder_.path("link.jsonl"));
  error_of([&] { run(options({path, folder_.path("link.jsonl")})); }, core::ExitCode::kBadConfig);
  ASSERT_EQ(::mkfifo(folder_.path("pipe.jsonl").c_str(), 0600),
            0);  // is not opened: that would wait for a writer
  const std::vector<std::pair<std::string, const char*>> refused = {
      {folder_.path("missing.jsonl"), "no such file; check its path"},
      {folder_.path("*.jsonl"), "no such file; patterns are not expanded: list each file"},
      {folder_.path("pipe.jsonl"), "not a regular file"},
      {"/dev/zero", "not a regular file"},
      {folder_.path(), "not a regular file; name a file of records: .jsonl"}};
  for (const auto& [file, says] : refused) {
    const std::string message = error_of([&, &file = file] { run(options({file})); });
    EXPECT_NE(message.find(file + ": " + says), std::string::npos) << message;
  }
}

TEST_F(Prepare, ReadsThousandsOfFilesInTime) {
  std::vector<std::string> files;
  for (int i = 0; i < 2000; ++i)
    files.push_back(folder_.write(fmt::format("{}.jsonl", i), R"({"prompt":"a","completion":"b"})"));
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(run(options(files)).num_sequences(), 2000);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10)) << "1 s on an idle machine";
}

TEST_F(Prepare, TakesRecordsWithTheSameIdForSeveral) {
  const std::string record = R"({"id":7,"prompt":"a","completion":"b"})";
  const Dataset dataset = run(options({folder_.write("a.jsonl", record + "\n" + record + "\n")}));
  ASSERT_EQ(dataset.num_sequences(), 2);
  EXPECT_NE(dataset.sequence(0).record_ids, dataset.sequence(1).record_ids);
}

TEST_F(Prepare, KeepsSourcesApartForTheirWeights) {
  PrepareOptions with = options({folder_.write("a.jsonl", pairs(10)),
                                 folder_.write("b.jsonl", "{\"text\":\"b\"}\n{\"text\":\"bb\"}\n")});
  with.sources[1].weight = 3;
  with.data.packing = true;
  const Dataset dataset = run(with);
  ASSERT_EQ(dataset.sources().size(), 2u);
  EXPECT_EQ(dataset.sources()[0].end, dataset.sources()[1].begin);
  EXPECT_EQ(dataset.sources()[1].weight, 3);
  EXPECT_EQ(dataset.sequence(dataset.sources()[1].begin).lengths, (std::vector<int32_t>{2, 3}));
  EXPECT_EQ(dataset.sequence(dataset.sources()[1].begin).record_ids, (std::vector<int64_t>{10, 11}));
}

TEST_F(Prepare, ReadsTheSameRecordsFromEveryContainer) {
  const std::vector<std::pair<std::string, std::string>> files = {
      {"a.jsonl", "{\"prompt\":\"a\",\"completion\":\"b\"}\n{\"prompt\":\"c,\",\"completion\":\"d\"}\n"},
      {"a.json", "[{\"prompt\":\"a\",\"completion\":\"b\"}, {\"prompt\":\"c,\",\"completion\":\"d\"}]"},
      {"a.csv", "prompt,completion\na,b\n\"c,\",d\n"},
      {"a.tsv", "id\tprompt\tcompletion\n1\ta\tb\n2\tc,\td\n"}};
  for (const auto& [name, text] : files) {
    const Dataset dataset = run(options({folder_.write(name, text)}));
    ASSERT_EQ(dataset.num_sequences(), 2) << name;
    EXPECT_EQ(text_of(dataset.sequence(1), tokenizer_), "c,d<|im_end|>") << name;
    EXPECT_EQ(dataset.report()["sources"][0]["format"], "prompt_completion");
  }
}

TEST_F(Prepare, ReadsDocumentsOfATextFile) {
  PrepareOptions with = options({folder_.write("a.txt", "one\n\ntwo\n")});
  EXPECT_EQ(text_of(run(with).sequence(0), tokenizer_), "one\n\ntwo<|im_end|>");
  with.sources[0].documents = "paragraph";
  const Dataset dataset = run(with);
  EXPECT_TRUE(built_);
  ASSERT_EQ(dataset.num_sequences(), 2);
  EXPECT_EQ(text_of(dataset.sequence(1), tokenizer_), "two<|im_end|>");
}

TEST_F(Prepare, RefusesJudgedAnswersAndSaysWhatItTakes) {
  for (const char* json :
       {R"({"prompt":"a","chosen":"b","rejected":"c"})", R"({"prompt":"a","completion":"b","label":true})",
        R"({"prompt":"a","completions":["b"],"labels":[true]})"}) {
    PrepareOptions with = options({folder_.write("a.jsonl", std::string("{\"bad\n") + json)});
    with.data.max_bad_records = 5;  // of no use: the whole file is of another kind
    const std::string message = error_of([&] { run(with); }, core::ExitCode::kBadConfig);
    EXPECT_NE(message.find("a.jsonl: line 2: "), std::string::npos) << message;
    EXPECT_NE(message.find("they take messages"), std::string::npos) << message;
  }
}

TEST_F(Prepare, KeepsBothAnswersToAPromptInOneRow) {
  PrepareOptions with =
      options({folder_.write("a.jsonl",
                             "{\"prompt\":\"ab\",\"chosen\":\"cd\",\"rejected\":\"e\",\"margin\":1.5}\n"
                             "{\"prompt\":\"f\",\"chosen\":\"g\",\"rejected\":\"h\"}\n")});
  with.kind = SampleKind::kPreference;
  const Dataset dataset = run(with);
  ASSERT_EQ(dataset.num_sequences(), 2);
  const Sequence pair = dataset.sequence(0);
  EXPECT_EQ(text_of(pair, tokenizer_), "abcd<|im_end|>abe<|im_end|>");
  EXPECT_EQ(pair.lengths, (std::vector<int32_t>{5, 4}));
  EXPECT_EQ(pair.record_ids, (std::vector<int64_t>{0}));
  const auto no = static_cast<int32_t>(kIgnoredLabel), eos = *tokenizer_.special_tokens().eos;
  EXPECT_EQ(pair.labels, (std::vector<int32_t>{no, 'c', 'd', eos, no, no, 'e', eos, no}));
  EXPECT_EQ(dataset.value(0), 1.5F);
  EXPECT_EQ(dataset.value(1), 0.0F);
  with.kind = SampleKind::kWhole;  // the same file for another method is another cache
  EXPECT_NE(error_of([&] { run(with); }, core::ExitCode::kBadConfig).find("judges answers"),
            std::string::npos);
}

TEST_F(Prepare, TakesAPairApartForMethodsOfSingleAnswers) {
  PrepareOptions with =
      options({folder_.write("a.jsonl", R"({"prompt":"ab","chosen":"cd","rejected":"e"})")});
  with.kind = SampleKind::kUnpaired;
  const Dataset dataset = run(with);
  ASSERT_EQ(dataset.num_sequences(), 2);
  EXPECT_EQ(text_of(dataset.sequence(0), tokenizer_), "abcd<|im_end|>");
  EXPECT_EQ(text_of(dataset.sequence(1), tokenizer_), "abe<|im_end|>");
  EXPECT_EQ(dataset.value(0), 1.0F);
  EXPECT_EQ(dataset.value(1), 0.0F);
  EXPECT_EQ(dataset.sequence(1).record_ids, (std::vector<int64_t>{0}));
}

TEST_F(Prepare, DropsAPairOfWhichOneAnswerIsTooLong) {
  const std::string text = "{\"prompt\":\"ab\",\"chosen\":\"c\",\"rejected\":\"" + std::string(80, 'd') +
                           "\"}\n{\"prompt\":\"ab\",\"chosen\":\"c\",\"rejected\":\"d\"}\n";
  PrepareOptions with = options({folder_.write("a.jsonl", text)});
  with.kind = SampleKind::kPreference;
  const Dataset dropped = run(with);
  EXPECT_EQ(dropped.num_sequences(), 1);
  EXPECT_EQ(dropped.report()["drops"]["longer than data.sequence_length"], 1);
  with.data.on_too_long = "truncate";
  EXPECT_EQ(run(with).sequence(0).lengths, (std::vector<int32_t>{4, 64}));
}

TEST_F(Prepare, RefusesRecordsThatTheMethodDoesNotLearnFrom) {
  PrepareOptions with = options({folder_.write("a.jsonl", pairs(1))});
  with.kind = SampleKind::kUnpaired;
  const std::string message = error_of([&] { run(with); }, core::ExitCode::kBadConfig);
  EXPECT_NE(message.find("a completion and a label"), std::string::npos) << message;
}

TEST_F(Prepare, ReadsTokensAsTheyAre) {
  PrepareOptions with =
      options({folder_.write("a.jsonl", R"({"input_ids":[97,98,99],"labels":[-100,98,99]})")});
  with.chat_template.clear();
  const Dataset dataset = run(with);
  EXPECT_EQ(dataset.sequence(0).input_ids, (std::vector<int32_t>{97, 98, 99}));
  EXPECT_EQ(dataset.sequence(0).labels, (std::vector<int32_t>{98, 99, -100}));
}

TEST_F(Prepare, DescribesWhatItReadInOneExample) {
  PrepareOptions with = options({folder_.write("a.jsonl", R"({"prompt":"ask\n","completion":"answer"})")});
  const std::string text = describe(run(with), tokenizer_, "data.train");
  EXPECT_NE(text.find("(format prompt_completion; JSON lines)"), std::string::npos) << text;
  EXPECT_NE(text.find("1 records, 0 bad; 1 sequences, 11 tokens, 7 of them targets"), std::string::npos)
      << text;
  EXPECT_NE(text.find("ask\\n[[answer<|im_end|>]]"), std::string::npos) << text;
}

}  // namespace
}  // namespace phalanx::data
