#include "label/label_store.h"

#include <signal.h>
#include <sys/resource.h>

#include "data/record.h"
#include "data/record_reader.h"
#include "label/label_test_util.h"

namespace phalanx::label {
namespace {

using test::contains;
using test::count_lines;
using test::error_of;
using test::make_answer;

class LabelStoreTest : public testing::Test {
 protected:
  std::string out() const { return folder.path("prefs.jsonl"); }
  std::string rows() const { return folder.read("prefs.jsonl"); }
  std::string journal() const { return folder.read("prefs.jsonl.journal"); }
  test::Folder folder;
};

TEST_F(LabelStoreTest, ChoicesAreRowsThatTrainingReadsAndTheRestIsInTheJournalAlone) {
  {
    LabelStore store(out());
    store.record(make_answer("ann", "1", Verdict::kFirst));
    store.record(make_answer("ann", "2", Verdict::kTie));
    store.record(make_answer("ann", "3", Verdict::kBothBad));
    store.record(make_answer("ann", "4", Verdict::kSkip));
    store.record(make_answer("bob", "1", Verdict::kSecond));
  }
  EXPECT_EQ(count_lines(rows()), 2);
  EXPECT_EQ(count_lines(journal()), 6);
  const auto reader = data::open_records(out());
  for (data::RawRecord raw; reader->next(raw);)
    EXPECT_EQ(data::read_record(reader->parse(raw), "auto").kind, data::Record::Kind::kPreference);
}

TEST_F(LabelStoreTest, TheLastWordCountsAndEverythingIsThereAgain) {
  {
    LabelStore store(out());
    store.record(make_answer("ann", "1", Verdict::kFirst));
    store.record(make_answer("ann", "2", Verdict::kFirst));
    store.record(make_answer("ann", "1", Verdict::kTie));  // a row goes
    store.record(make_answer("ann", "3", Verdict::kFirst));
    store.record(make_answer("ann", "3", Verdict::kUndo));  // and another
    store.record(make_answer("ann", "4", Verdict::kTie));
    store.record(make_answer("ann", "4", Verdict::kSecond));  // one comes
    EXPECT_EQ(store.last_pair_of("ann"), "4");
    EXPECT_EQ(store.last_pair_of("bob"), "");
    EXPECT_FALSE(store.has("ann", "3"));
  }
  EXPECT_EQ(count_lines(rows()), 2);
  EXPECT_TRUE(contains(rows(), "\"p2\"") && contains(rows(), "\"p4\"")) << rows();
  const std::string before = rows();
  LabelStore store(out());
  EXPECT_TRUE(store.notices().empty());
  EXPECT_TRUE(store.has("ann", "1") && store.has("ann", "2") && store.has("ann", "4"));
  EXPECT_EQ(rows(), before);
  EXPECT_EQ(count_lines(journal()), 8) << "nothing is ever taken out";
}

/// As after a kill at any byte of the last line: it was never confirmed, all before it was.
TEST_F(LabelStoreTest, ATornLastLineIsCutOffAtEveryByte) {
  {
    LabelStore store(out());
    store.record(make_answer("ann", "1", Verdict::kFirst));
    store.record(make_answer("ann", "2", Verdict::kSecond));
  }
  const std::string whole = journal(), all_rows = rows();
  const size_t second = whole.rfind('\n', whole.size() - 2) + 1;
  for (size_t size = second; size < whole.size(); ++size) {
    folder.write("prefs.jsonl.journal", whole.substr(0, size));
    folder.write("prefs.jsonl", all_rows.substr(0, all_rows.find('\n') + 1));
    LabelStore store(out());
    EXPECT_EQ(store.has("ann", "1"), true);
    EXPECT_EQ(store.has("ann", "2"), false);
    EXPECT_EQ(store.notices().size(), size == second ? 0u : 1u);
    EXPECT_EQ(journal(), whole.substr(0, second));
  }
  for (size_t size = 0; size < all_rows.size(); ++size) {  // the journal has it, the rows do not
    folder.write("prefs.jsonl.journal", whole);
    folder.write("prefs.jsonl", all_rows.substr(0, size));
    LabelStore store(out());
    EXPECT_EQ(rows(), all_rows);
  }
}

TEST_F(LabelStoreTest, AChangedJournalIsAnErrorWithItsLine) {
  { LabelStore(out()).record(make_answer("ann", "1", Verdict::kFirst)); }
  const std::string whole = journal();
  folder.write("prefs.jsonl.journal", whole + "{\"time\":1}\n" + whole.substr(whole.find('\n') + 1));
  EXPECT_TRUE(contains(error_of([&] { LabelStore store(out()); }), "line 3"));
  folder.write("prefs.jsonl.journal", "something else\n");
  EXPECT_TRUE(contains(error_of([&] { LabelStore store(out()); }), "line 1: is not the header"));
}

TEST_F(LabelStoreTest, RowsThatAreNotOursAreLeftAlone) {
  folder.write("prefs.jsonl", "{\"prompt\": \"mine\"}\n");
  EXPECT_TRUE(contains(error_of([&] { LabelStore store(out()); }), "name another --out"));
  EXPECT_EQ(rows(), "{\"prompt\": \"mine\"}\n");
}

TEST_F(LabelStoreTest, RowsThatWereChangedByHandAreKeptAside) {
  { LabelStore(out()).record(make_answer("ann", "1", Verdict::kFirst)); }
  folder.write("prefs.jsonl", "changed\n");
  LabelStore store(out());
  ASSERT_EQ(store.notices().size(), 1u);
  EXPECT_TRUE(contains(store.notices()[0], "prefs.jsonl.bak"));
  EXPECT_EQ(folder.read("prefs.jsonl.bak"), "changed\n");
  EXPECT_EQ(count_lines(rows()), 1);
}

TEST_F(LabelStoreTest, ASecondProcessIsRefused) {
  LabelStore store(out());
  EXPECT_TRUE(contains(error_of([&] { LabelStore again(out()); }, core::ExitCode::kSuperseded),
                       "another process writes to it"));
}

TEST_F(LabelStoreTest, AFolderThatIsMissingIsAnError) {
  EXPECT_TRUE(
      contains(error_of([&] { LabelStore store(folder.path("no/prefs.jsonl")); }, core::ExitCode::kStorage),
               "folder must exist"));
}

/// No file of this process may grow beyond a size while the object lives.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(uint64_t bytes) {
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() { setrlimit(RLIMIT_FSIZE, &before_); }
  FileSizeLimit(const FileSizeLimit&) = delete;

 private:
  rlimit before_;
};

TEST_F(LabelStoreTest, WhatCannotBeWrittenLeavesBothFilesAsTheyWere) {
  LabelStore store(out());
  store.record(make_answer("ann", "1", Verdict::kFirst));
  const std::string journal_before = journal(), rows_before = rows();
  // At every size from none of the line to all of it: the journal, which is longer, fails first.
  const uint64_t line_bytes = journal_before.size() - journal_before.find('\n') - 1;
  for (uint64_t room = 0; room < line_bytes; room += 7) {
    const FileSizeLimit limit(journal_before.size() + room);
    const std::string text =
        error_of([&] { store.record(make_answer("ann", "2", Verdict::kFirst)); }, core::ExitCode::kStorage);
    EXPECT_TRUE(contains(text, "make room on the disk")) << text;
    EXPECT_EQ(journal(), journal_before);
    EXPECT_EQ(rows(), rows_before);
    EXPECT_FALSE(store.has("ann", "2"));
  }
  store.record(make_answer("ann", "2", Verdict::kFirst));  // with room again
  EXPECT_EQ(count_lines(rows()), 2);
}

TEST_F(LabelStoreTest, ARowThatCannotBeWrittenTakesItsAnswerBack) {
  LabelStore store(out());
  for (int i = 0; i < 3; ++i) {
    Answer answer = make_answer("ann", std::to_string(i), Verdict::kFirst);
    answer.row = core::Json::object();  // so that the rows are shorter than the journal's lines
    store.record(answer);
  }
  const std::string journal_before = journal(), rows_before = rows();
  Answer large = make_answer("ann", "9", Verdict::kFirst);
  std::filesystem::remove(out());  // the rows cannot be replaced: a folder stands in their place
  std::filesystem::create_directories(out() + "/x");
  large.pair = "1";
  EXPECT_TRUE(
      contains(error_of([&] { store.record(large); }, core::ExitCode::kStorage), "cannot be replaced"));
  EXPECT_EQ(journal(), journal_before);
  EXPECT_EQ(store.last_pair_of("ann"), "2");
}

}  // namespace
}  // namespace phalanx::label
