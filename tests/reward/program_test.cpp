#include "reward/program.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "core/log.h"
#include "reward/sandbox.h"
#include "reward_test_util.h"

namespace phalanx::reward {
namespace {

namespace fs = std::filesystem;

/// Is there what `program` needs by default? A test without it is skipped by that name.
const std::string& missing_namespaces() {
  static const std::string missing = [] {
    try {
      Sandbox({.command = {"true"}});
      return std::string();
    } catch (const core::Error& error) {
      return std::string(error.what());
    }
  }();
  return missing;
}
#define NEEDS_NAMESPACES() \
  if (!missing_namespaces().empty()) GTEST_SKIP() << "no namespaces: " << missing_namespaces()

/// A folder with a Python verifier: reads all samples as `samples`, runs `body`, which calls answer(sample,
/// value).
class Program : public ::testing::Test {
 protected:
  void SetUp() override {
    NEEDS_NAMESPACES();
    char name[] = "/tmp/phalanx-program-test-XXXXXX";
    folder_ = ::mkdtemp(name);
    fs::permissions(folder_, fs::perms::all);
    log_ = folder_ + "/log";
    core::set_up_log({.file = log_});
    prompts_.add(R"({"prompt":"3 + 4?","ground_truth":"7","kind":{"a":[1,null]}})", "It is 7");
  }
  void TearDown() override {
    core::set_up_log({});
    if (!folder_.empty()) fs::remove_all(folder_);
  }

  TermOptions options(const std::string& body, double timeout_s = 5) {
    const std::string path = folder_ + "/verify.py";
    std::ofstream(path) << "import sys, json, os, signal, time, socket, subprocess\n"
                           "samples = [json.loads(line) for line in sys.stdin]\n"
                           "def answer(sample, reward):\n"
                           "    print(json.dumps({'id': sample['id'], 'reward': reward}), flush=True)\n"
                           "sample = samples[0]\n"
                        << body << "\n";
    return {.name = "program", .command = {"python3", "-S", path}, .timeout_s = timeout_s};
  }
  Score score(const std::string& body, double timeout_s = 5) {
    return test::judged("program", test::make_reward(options(body, timeout_s)), prompts_)[0];
  }
  std::string log() const {
    std::ifstream file(log_);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::string folder_, log_;
  test::Samples prompts_;
};

TEST_F(Program, SeesTheSampleAndSaysANumber) {
  EXPECT_EQ(score("answer(sample, 0.25 if sample['ground_truth'] in sample['completion'] else 0)"), 0.25);
  EXPECT_EQ(score("answer(sample, int(sample['prompt'] == '3 + 4?') + sample['fields']['kind']['a'][0])"),
            2.0);
  EXPECT_EQ(score("answer(sample, None)"), std::nullopt);
  EXPECT_EQ(log(), "") << "null is an answer, not a failure";
}

TEST_F(Program, JudgesManyAtOnceInAnyOrder) {
  test::Samples many;
  for (int i = 0; i < 10; ++i) many.add(R"({"prompt":"?"})", std::to_string(i));
  TermOptions options =
      this->options("for s in reversed(samples): answer(s, int(s['completion']) + len(samples))");
  options.samples_per_run = 4;
  EXPECT_EQ(test::judged("program", test::make_reward(options), many),
            (std::vector<Score>{4, 5, 6, 7, 8, 9, 10, 11, 10, 11}));
}

TEST_F(Program, OneFailureLeavesTheOthersAlone) {
  test::Samples two;
  two.add(R"({"prompt":"?"})", "bad").add(R"({"prompt":"?"})", "good");
  const auto scores = test::judged(
      "program",
      test::make_reward(options("if sample['completion'] == 'bad': sys.exit('no idea')\nanswer(sample, 1)")),
      two);
  EXPECT_EQ(scores, (std::vector<Score>{std::nullopt, 1.0}));
  EXPECT_NE(
      log().find("1 of 2 answers have no score; the first: the program ended with exit code 1, and said: no "
                 "idea"),
      std::string::npos)
      << log();
}

TEST_F(Program, TakesTextThatIsNoUtf8) {
  test::Samples cut;
  cut.add(R"({"prompt":"?"})", "a\xE2\x82");
  EXPECT_EQ(test::judged("program", test::make_reward(options("answer(sample, len(sample['completion']))")),
                         cut)[0],
            3.0);
}

struct Abuse {
  std::string name;
  std::string body;
  std::string says;  ///< in the warning
};

/// Each is unscorable, quickly, and said so.
class ProgramAbuse : public Program, public ::testing::WithParamInterface<Abuse> {};

TEST_P(ProgramAbuse, LeavesTheAnswerWithoutScore) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(score(GetParam().body, 1.0), std::nullopt);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(8));
  EXPECT_NE(log().find("1 of 1 answers have no score; the first: the program "), std::string::npos) << log();
  EXPECT_NE(log().find(GetParam().says), std::string::npos) << log();
}

INSTANTIATE_TEST_SUITE_P(
    Table, ProgramAbuse,
    ::testing::Values(
        Abuse{"EndlessLoop", "while True: pass", ""},
        Abuse{"Sleep", "time.sleep(10**6)", "took more than 1 s"},
        Abuse{"IgnoresSigterm", "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(99)",
              "took more than 1 s"},
        Abuse{"StopsItself", "os.kill(os.getpid(), signal.SIGSTOP)\ntime.sleep(99)", "took more than 1 s"},
        Abuse{"AnswersThenSleeps", "answer(sample, 1)\ntime.sleep(99)", "took more than 1 s"},
        Abuse{"ForkBomb", "while True:\n    try: os.fork()\n    except OSError: pass", "took more than 1 s"},
        Abuse{"MuchToStdout", "while True: sys.stdout.write('x' * 65536)", "wrote more than 4096 bytes"},
        Abuse{"MuchToStderr", "while True: sys.stderr.write('x' * 65536)", "to stderr"},
        Abuse{"MuchToAFile", "f = open('/tmp/f', 'wb')\nwhile True: f.write(bytes(1 << 20))", ""},
        Abuse{"MuchToManyFiles",
              "for i in range(99): open(f'/tmp/{i}', 'wb').write(bytes(15 << 20))\nanswer(sample, 1)", ""},
        Abuse{"MuchMemory", "x = bytearray(100 << 30)\nanswer(sample, 1)", "exit code 1"},
        Abuse{"TouchesMuchMemory", "x = []\nwhile True: x.append(bytearray(1 << 20))", ""},
        Abuse{"ResultOfAGrandchild",
              "if os.fork() == 0:\n    os.setsid()\n    time.sleep(0.3)\n    answer(sample, 1)",
              "wrote 0 results for 1 samples"},
        Abuse{"KillsItsGroup", "os.kill(0, signal.SIGKILL)\nos._exit(3)", ""},
        Abuse{"NoResult", "pass", "wrote 0 results for 1 samples"},
        Abuse{"ExitCode", "answer(sample, 1)\nsys.exit(137)", "ended with exit code 137"},
        Abuse{"Crash", "answer(sample, 1)\nimport ctypes\nctypes.string_at(0)", "killed by signal 11"},
        Abuse{"NotANumber", "answer(sample, float('nan'))", "is not JSON"},
        Abuse{"Infinity", "answer(sample, float('inf'))", "is not JSON"},
        Abuse{"TooLargeANumber", "print('{\"id\": \"%s\", \"reward\": 1e999}' % sample['id'])",
              "is not JSON"},
        Abuse{"Text", "answer(sample, '1')", "is not {\"id\": text"},
        Abuse{"Bool", "answer(sample, True)", ""},
        Abuse{"TwoResults", "answer(sample, 1)\nanswer(sample, 0)", "repeats an id"},
        Abuse{"OtherId", "print('{\"id\": \"x\", \"reward\": 1}')", "has an id that no sample has"},
        Abuse{"Garbage", "print('<html>\\x1b[31m')", "is not JSON"},
        Abuse{"InvalidUtf8", "os.write(1, b'\\xff\\n')", "is not JSON"},
        Abuse{"MoreKeys", "print(json.dumps({'id': sample['id'], 'reward': 1, 'x': 2}))", ""},
        Abuse{"DuplicateKeys", "print('{\"id\": \"%s\", \"reward\": 0, \"reward\": 1}' % sample['id'])", ""},
        Abuse{"DeepJson", "print('[' * 4000)", "is not JSON"},
        Abuse{"ForgedByTheAnswer",
              "subprocess.run([sys.executable, '-c', 'print(\\'{\"id\": \"1\", \"reward\": "
              "1}\\')'])\nanswer(sample, 0)",
              "has an id that no sample has"}),
    [](const auto& info) { return info.param.name; });

TEST_F(Program, CannotSeeThisProcessItsFilesOrItsEnvironment) {
  ::setenv("PHALANX_TEST_SECRET", "hunter2", 1);
  const std::string secret = folder_ + "/checkpoint";
  std::ofstream(secret) << "weights";
  for (const std::string& test : {
           std::string("os.path.exists('/proc/self')"),
           std::string("'hunter2' in str(os.environ)"),
           std::string("set(os.environ) - {'PATH', 'LANG', 'HOME', 'LC_CTYPE'}"),
           "os.path.exists('" + secret + "')",
           std::string("os.path.exists('/root') or os.path.exists('/home') or os.path.exists('/work')"),
           std::string("os.getppid() != 0"),
           std::string("os.path.exists('/etc/passwd') or os.path.exists('/var') or os.path.exists('/run')"),
           std::string("os.getuid() == 0"),
           std::string("any(os.path.exists(f'/dev/{x}') for x in ('shm', 'sda', 'mem', 'pts'))"),
       }) {
    EXPECT_EQ(score("answer(sample, 1 if " + test + " else 0)"), 0.0) << test;
  }
  ::unsetenv("PHALANX_TEST_SECRET");
}

TEST_F(Program, SeesOneSampleAndLeavesNoCore) {
  test::Samples two;
  two.add(R"({"prompt":"?"})", "a").add(R"({"prompt":"?"})", "b");
  EXPECT_EQ(test::scores_of(make_reward(options("import resource\n"
                                                "answer(sample, len(samples) + "
                                                "resource.getrlimit(resource.RLIMIT_CORE)[1])"))
                                ->score(two)),
            (std::vector<Score>{1.0, 1.0}));
}

TEST_F(Program, HasNoOpenFileOfOurs) {
  std::ofstream held(folder_ + "/held");
  EXPECT_EQ(score("n = 0\n"
                  "for fd in range(3, 64):\n"
                  "    try: os.fstat(fd); n += 1\n"
                  "    except OSError: pass\n"
                  "answer(sample, n)"),
            0.0);
}

TEST_F(Program, CannotKillOrTraceThisProcess) {
  const std::string pid = std::to_string(::getpid());
  EXPECT_EQ(score("n = 0\n"
                  "for pid in (" +
                  pid + ", -" + pid +
                  "):\n"
                  "    try: os.kill(pid, 9); n += 1\n"
                  "    except ProcessLookupError: pass\n"
                  "answer(sample, n)"),
            0.0);
  EXPECT_EQ(score("import ctypes\nanswer(sample, ctypes.CDLL(None).ptrace(16, " + pid + ", 0, 0))"), -1.0);
}

TEST_F(Program, ReachesLittleOfTheKernel) {
  // Each in a process of its own: what is let through may change it.
  const std::string calls =
      "import ctypes, errno\nlibc = ctypes.CDLL(None, use_errno=True)\n"
      "def fails(call):\n    return call() == -1 and ctypes.get_errno() == errno.EPERM\n";
  for (const char* call :
       {"libc.unshare(0x10000000)", "libc.unshare(0)", "libc.setns(0, 0)", "libc.socket(40, 1, 0)",
        "libc.socket(16, 3, 0)", "libc.mount(b'x', b'/tmp', b'tmpfs', 0, None)", "libc.personality(0)",
        "libc.ptrace(0, 0, 0, 0)", "libc.chroot(b'/tmp')"}) {
    EXPECT_EQ(score(calls + "answer(sample, 1 if fails(lambda: " + call + ") else 0)"), 1.0) << call;
  }
}

TEST_F(Program, MayUseThreadsProcessesAndLocalSockets) {
  EXPECT_EQ(
      score("import threading\n"
            "seen = []\n"
            "threads = [threading.Thread(target=lambda: seen.append(1)) for _ in range(4)]\n"
            "[t.start() for t in threads]; [t.join() for t in threads]\n"
            "out = subprocess.run(['python3', '-c', 'print(6 * 7)'], capture_output=True, text=True).stdout\n"
            "a, b = socket.socketpair(); a.send(b'x'); b.recv(1)\n"
            "answer(sample, len(seen) + int(out))"),
      46.0);
}

TEST_F(Program, HasNoNetworkNotEvenThisMachine) {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(listener, 1), 0);
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  EXPECT_EQ(score("try: socket.create_connection(('127.0.0.1', " + std::to_string(ntohs(address.sin_port)) +
                  "), 1); answer(sample, 1)\nexcept OSError: answer(sample, 0)"),
            0.0);
  const int local = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0phalanx-program-test"};
  ASSERT_EQ(::bind(local, reinterpret_cast<sockaddr*>(&name), sizeof(sa_family_t) + 21), 0);
  ASSERT_EQ(::listen(local, 1), 0);
  EXPECT_EQ(
      score(
          "s = socket.socket(socket.AF_UNIX)\n"
          "try: s.connect('\\0phalanx-program-test'); answer(sample, 1)\nexcept OSError: answer(sample, 0)"),
      0.0);
  ::close(local);
  EXPECT_EQ(
      score(
          "try: socket.getaddrinfo('example.org', 80); answer(sample, 1)\nexcept OSError: answer(sample, 0)"),
      0.0);
  ::close(listener);
}

TEST_F(Program, WritesNothingThatOutlivesIt) {
  EXPECT_EQ(score("n = 0\n"
                  "for path in ('/x', '/usr/x', '/etc/x', '/dev/x', sys.argv[0], sys.argv[0] + '.x'):\n"
                  "    try: open(path, 'a'); n += not path.endswith('.py.x')\n"
                  "    except OSError: pass\n"
                  "answer(sample, n)"),
            0.0);
  EXPECT_FALSE(fs::exists(folder_ + "/verify.py.x"));
  EXPECT_EQ(score("answer(sample, 0 if os.getcwd() == '/tmp' and len(os.listdir()) <= 1 else 1)"), 0.0);
}

/// Running processes (no zombies) with this text in their command line.
int count_processes(const std::string& text) {
  int count = 0;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "cmdline");
    const std::string line{std::istreambuf_iterator<char>(file), {}};
    count += static_cast<int>(line.find(text) != std::string::npos);
  }
  return count;
}

TEST_F(Program, LeavesNoProcessBehind) {
  // A daemon: forks, leaves the session, and would write for ever.
  const std::string heartbeat =
      "\nif os.fork() == 0:\n"
      "    os.setsid()\n"
      "    if os.fork() == 0:\n"
      "        while True: time.sleep(0.01)\n"
      "    os._exit(0)\n"
      "time.sleep(0.1)\nanswer(sample, 1)";
  EXPECT_EQ(score(heartbeat), 1.0);
  EXPECT_EQ(count_processes(folder_), 0);
}

template <class Condition>
bool comes_true(const Condition& condition) {
  for (int i = 0; i < 300 && !condition(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return condition();
}

TEST_F(Program, DiesWithATrainerThatIsKilled) {
  // The last two try to stay: PR_SET_PDEATHSIG is 1.
  for (const std::string& body :
       {std::string("time.sleep(99)"), std::string("os.fork(); os.setsid(); time.sleep(99)"),
        std::string("import ctypes\nctypes.CDLL(None).prctl(1, 0)\ntime.sleep(99)")}) {
    const TermOptions options = this->options(body, 99);
    const pid_t trainer = ::fork();
    if (trainer == 0) {
      make_reward(options)->score(prompts_);
      _exit(0);
    }
    EXPECT_TRUE(comes_true([&] { return count_processes(folder_) > 0; }));
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    ::kill(trainer, SIGKILL);
    ::waitpid(trainer, nullptr, 0);
    EXPECT_TRUE(comes_true([&] { return count_processes(folder_) == 0; })) << body;
  }
}

TEST_F(Program, EndsWhenTheRunIsAskedToStop) {
  std::atomic<bool> is_asked = false;
  test::Samples many;
  for (int i = 0; i < 20; ++i) many.add(R"({"prompt":"?"})", "x");
  const auto reward = make_reward(options("time.sleep(99)", 99));
  std::thread user([&] {
    comes_true([&] { return count_processes(folder_) > 1; });
    is_asked = true;
  });
  EXPECT_THROW(reward->score(many, [&] { return is_asked.load(); }), core::Stopped);
  user.join();
  EXPECT_EQ(count_processes(folder_), 0);
}

size_t count_open_files() {
  return static_cast<size_t>(std::distance(fs::directory_iterator("/proc/self/fd"), {}));
}

size_t count_work_folders() {
  return static_cast<size_t>(std::count_if(
      fs::directory_iterator(fs::temp_directory_path()), {}, [](const fs::directory_entry& entry) {
        return entry.path().filename().string().starts_with("phalanx-program-");
      }));
}

TEST_F(Program, LeaksNothingInManyCalls) {
  const fs::path folder = fs::path("/tmp") / ("phalanx_leaks_" + std::to_string(::getpid()));
  fs::create_directories(folder);
  ::setenv("TMPDIR", folder.c_str(), 1);  // the work folders of this test alone
  const Sandbox sandbox({.command = {"cat"}});
  sandbox.run("x");
  const size_t before = count_open_files();
  const auto begin = std::chrono::steady_clock::now();
  const int kCalls = std::getenv("PHALANX_FULL") ? 10000 : 200;
  const size_t folders_before = count_work_folders();
  for (int i = 0; i < kCalls; ++i) ASSERT_EQ(sandbox.run("line\n").output, "line\n");
  const double call_ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count() / kCalls;
  RecordProperty("call_ms", std::to_string(call_ms));
  printf("a call takes %.1f ms\n", call_ms);
  EXPECT_EQ(count_open_files(), before);
  EXPECT_EQ(count_work_folders(), folders_before);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "no child is left";
  ::unsetenv("TMPDIR");
  fs::remove_all(folder);
}

TEST(SandboxWithoutNamespaces, HasLimitsAndAFolderThatGoes) {
  const Sandbox sandbox(
      {.command = {"sh", "-c", "pwd; env | sort; ulimit -n; cat"}, .has_namespaces = false});
  const SandboxRun run = sandbox.run("in");
  EXPECT_EQ(run.problem, "");
  const std::string folder = run.output.substr(0, run.output.find('\n'));
  EXPECT_TRUE(folder.starts_with("/tmp/phalanx-program-")) << run.output;
  EXPECT_FALSE(fs::exists(folder));
  EXPECT_NE(run.output.find("\n64\nin"), std::string::npos) << run.output;
  EXPECT_NE(run.output.find("HOME=/tmp\nLANG=C.UTF-8\n"), std::string::npos) << run.output;
}

TEST(SandboxWithoutNamespaces, KillsTheWholeGroup) {
  const Sandbox sandbox({.command = {"sh", "-c", "sleep 98765 & sleep 98765"},
                         .has_namespaces = false,
                         .limits = {.timeout_s = 0.3}});
  EXPECT_EQ(sandbox.run("").problem, "took more than 0.3 s");
  const Sandbox leaves({.command = {"sh", "-c", "sleep 98765 & echo done"}, .has_namespaces = false});
  EXPECT_EQ(leaves.run("").output, "done\n") << "what is left in the background does not keep us waiting";
}

TEST(SandboxCommand, MustBeThere) {
  using test::refusal;
  EXPECT_NE(refusal({.name = "program"}).find("program needs command"), std::string::npos);
  EXPECT_NE(refusal({.name = "program", .command = {"no-such-program"}, .sandbox = "none"})
                .find("command: no-such-program is not a program here"),
            std::string::npos);
  EXPECT_NE(refusal({.name = "program", .command = {"true"}, .readable = {"/no/such"}})
                .find("/no/such does not exist"),
            std::string::npos);
  for (const char* path : {"/", "/proc", "/tmp", "/etc", "/proc/self/.."})
    EXPECT_NE(refusal({.name = "program", .command = {"true"}, .readable = {path}}).find("cannot be shown"),
              std::string::npos)
        << path;
}

}  // namespace
}  // namespace phalanx::reward
