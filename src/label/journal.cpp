#include "label/journal.h"

#include "core/error.h"
#include "core/files.h"

namespace phalanx::label {
namespace {

void add_lines(const std::vector<std::string>& lines, const std::string& path, StandingAnswers& standing) {
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i == 0 && lines[i] == kJournalHeader) continue;
    const std::string place = fmt::format("{}: line {}", core::printable(path), i + 1);
    if (i == 0)
      core::fail(core::ExitCode::kBadInput, "{}: is not the header {}; name another --out", place,
                 kJournalHeader);
    try {
      standing.add(answer_from_json(core::parse_json(lines[i], "answer")));
    } catch (const core::Error& error) {
      core::fail(core::ExitCode::kBadInput, "{}: {}; it was changed after it was written", place,
                 error.what());
    }
  }
}

}  // namespace

std::string journal_path(const std::string& preferences) {
  return preferences + ".journal";
}

Journal::Journal(const std::string& path, StandingAnswers& standing) : lines_(path) {
  const std::vector<std::string> lines = lines_.take_lines();
  was_empty_ = lines.empty();
  add_lines(lines, path, standing);
  if (was_empty_) lines_.append(kJournalHeader);
}

StandingAnswers read_journal(const std::string& path) {
  const std::string content = core::read_file(path, uint64_t{4} << 30);
  std::vector<std::string> lines;
  size_t begin = 0;
  for (size_t end = content.find('\n'); end != std::string::npos; end = content.find('\n', begin)) {
    lines.push_back(content.substr(begin, end - begin));
    begin = end + 1;
  }
  StandingAnswers standing;
  add_lines(lines, path, standing);
  return standing;
}

}  // namespace phalanx::label
