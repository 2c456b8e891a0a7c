#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <vector>

// Runs the program itself, as a user does, in a folder of its own.
namespace phalanx::launch::test {

struct Outcome {
  int exit_code = -1;
  std::string out, err;  ///< stdout, stderr
  bool timed_out = false;
};

/// A fresh temporary folder with the fixture's files in it; removed at the end.
class Workplace {
 public:
  Workplace();
  ~Workplace();
  Workplace(const Workplace&) = delete;
  Workplace& operator=(const Workplace&) = delete;

  const std::filesystem::path& folder() const { return folder_; }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  void write(const std::string& name, const std::string& text) const;
  std::string read(const std::string& name) const;

  /// `phalanx ARGUMENTS` in the folder, with `input` on stdin. Killed after `limit_s` seconds.
  Outcome run(const std::vector<std::string>& arguments, const std::string& input = "",
              double limit_s = 60) const;
  /// Any program.
  Outcome run_command(const std::vector<std::string>& words, const std::string& input = "",
                      double limit_s = 60) const;

 private:
  std::filesystem::path folder_;
};

/// The values of these keys in a run's metrics.jsonl, row by row.
std::vector<double> metrics(const Workplace& place, const std::string& run,
                            const std::vector<std::string>& keys);

/// The tiny run of these tests: a new two-layer Llama on the fixture's chat records, 6 steps of 8 sequences.
std::string tiny_config();

}  // namespace phalanx::launch::test
