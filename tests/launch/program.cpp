#include "launch/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

namespace phalanx::launch::test {
namespace {

namespace fs = std::filesystem;

std::string read_all(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

[[noreturn]] void become(const std::vector<std::string>& words, const fs::path& folder,
                         const fs::path& files) {
  setpgid(0, 0);  // so that a test that hangs can be ended with everything it started
  const auto redirect = [&](const char* name, int flags, int target) {
    dup2(open((files / name).c_str(), flags, 0644), target);
  };
  redirect("stdin", O_RDONLY, STDIN_FILENO);
  redirect("stdout", O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO);
  redirect("stderr", O_WRONLY | O_CREAT | O_TRUNC, STDERR_FILENO);
  if (chdir(folder.c_str()) != 0) _exit(126);
  setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
  setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  execvp(arguments[0], arguments.data());
  _exit(127);
}

}  // namespace

Workplace::Workplace() {
  std::string name = (fs::temp_directory_path() / "phalanx_launch_XXXXXX").string();
  folder_ = mkdtemp(name.data());
  fs::copy(fs::path(PHALANX_SOURCE_DIR) / "tests/launch/fixture", folder_, fs::copy_options::recursive);
}

Workplace::~Workplace() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

void Workplace::write(const std::string& name, const std::string& text) const {
  fs::create_directories((folder_ / name).parent_path());
  std::ofstream(folder_ / name, std::ios::binary) << text;
}

std::string Workplace::read(const std::string& name) const {
  return read_all(folder_ / name);
}

Outcome Workplace::run(const std::vector<std::string>& arguments, const std::string& input,
                       double limit_s) const {
  std::vector<std::string> words = {PHALANX_PROGRAM};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return run_command(words, input, limit_s);
}

Outcome Workplace::run_command(const std::vector<std::string>& words, const std::string& input,
                               double limit_s) const {
  const fs::path files = folder_ / ".streams";
  fs::create_directories(files);
  std::ofstream(files / "stdin", std::ios::binary) << input;
  const pid_t pid = fork();
  if (pid == 0) become(words, folder_, files);
  Outcome outcome;
  int status = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(limit_s);
  while (waitpid(pid, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > end) {
      outcome.timed_out = true;
      kill(-pid, SIGKILL);
      waitpid(pid, &status, 0);
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.out = read_all(files / "stdout");
  outcome.err = read_all(files / "stderr");
  return outcome;
}

std::vector<double> metrics(const Workplace& place, const std::string& run,
                            const std::vector<std::string>& keys) {
  std::vector<double> values;
  std::istringstream lines(place.read(run + "/metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const auto row = nlohmann::json::parse(line);
    for (const std::string& key : keys) {
      if (row.contains(key)) values.push_back(row[key]);
    }
  }
  return values;
}

std::string tiny_config() {
  return R"(run:        {name: tiny, output_dir: run, seed: 3}
model:      {family: llama, hidden_size: 48, intermediate_size: 96, num_hidden_layers: 2, num_attention_heads: 4,
             num_key_value_heads: 2, tie_word_embeddings: true, tokenizer: tokenizer}
data:
  train:    [{path: train.jsonl}]
  eval:     [{path: eval.jsonl}]
  sequence_length: 128
  packing:  true
optimizer:  {learning_rate: 1.0e-2}
train:      {max_steps: 6, global_batch_size: 8, micro_batch_size: 2, precision: fp32}
checkpoint: {every_steps: 2}
eval:       {every_steps: 3}
)";
}

}  // namespace phalanx::launch::test
