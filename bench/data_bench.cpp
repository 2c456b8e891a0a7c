// Tokenizer, line reading and packing next to what one thread streams from memory in the same run ("share":
// bytes that the operation has to touch, per second, over that stream). PHALANX_BENCH_TOKENIZER is a GGUF
// file, a Hugging Face folder or a tokenizer file, PHALANX_BENCH_TEXT a file whose lines are the texts, and
// PHALANX_BENCH_BYTES how much of it is encoded; the defaults are what scripts/fetch_example.sh leaves here.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "data/json_lines.h"
#include "data/packing.h"
#include "data/tokenizer.h"
#include "formats/gguf.h"

namespace {

using namespace phalanx::data;
namespace fs = std::filesystem;

std::string setting(const char* name, const char* otherwise) {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : otherwise;
}

/// Bytes per second of one thread reading 512 MiB, the best of five; measured once.
double stream_bytes_per_s() {
  static const double measured = [] {
    std::vector<uint64_t> words(size_t{64} << 20, 1);
    double best = 0;
    for (int round = 0; round < 5; ++round) {
      const auto start = std::chrono::steady_clock::now();
      uint64_t lanes[8] = {};
      for (size_t i = 0; i < words.size(); i += 8) {
        for (size_t lane = 0; lane < 8; ++lane) lanes[lane] += words[i + lane];
      }
      benchmark::DoNotOptimize(std::accumulate(lanes, lanes + 8, uint64_t{0}));
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      best = std::max(best, static_cast<double>(words.size()) * 8 / seconds);
    }
    return best;
  }();
  return measured;
}

/// `bytes` of one iteration, for the counters MB/s, stream_GB/s and share.
void report(benchmark::State& state, double bytes) {
  state.counters["MB/s"] = benchmark::Counter(bytes * 1e-6, benchmark::Counter::kIsIterationInvariantRate,
                                              benchmark::Counter::kIs1000);
  state.counters["stream_GB/s"] = stream_bytes_per_s() * 1e-9;
  state.counters["share"] =
      benchmark::Counter(bytes / stream_bytes_per_s(), benchmark::Counter::kIsIterationInvariantRate);
}

std::shared_ptr<const Tokenizer> bench_tokenizer() {
  static const std::shared_ptr<const Tokenizer> tokenizer = [] {
    const std::string path = setting("PHALANX_BENCH_TOKENIZER", "models/SmolLM2-135M-Instruct.Q4_1.gguf");
    if (!fs::exists(path)) return std::shared_ptr<const Tokenizer>();
    if (path.ends_with(".gguf")) return load_gguf_tokenizer(phalanx::formats::GgufFile(path));
    return fs::is_directory(path) ? load_hf_tokenizer(path) : load_tokenizer_file(path);
  }();
  return tokenizer;
}

std::string bench_text_file() {
  return setting("PHALANX_BENCH_TEXT", "data/wordnet/train.jsonl");
}

/// The first bytes of the text, as lines.
std::vector<std::string> bench_lines() {
  const size_t limit = std::stoull(setting("PHALANX_BENCH_BYTES", "4194304"));
  std::vector<std::string> lines;
  JsonLines reader(bench_text_file());
  RawRecord line;
  for (size_t bytes = 0; bytes < limit && reader.next(line); bytes += line.text.size())
    lines.push_back(line.text);
  return lines;
}

bool have_files(benchmark::State& state) {
  if (bench_tokenizer() && fs::exists(bench_text_file())) return true;
  state.SkipWithError("needs a tokenizer and a text: run scripts/fetch_example.sh");
  return false;
}

void encode(benchmark::State& state) {
  if (!have_files(state)) return;
  const std::vector<std::string> lines = bench_lines();
  size_t bytes = 0, tokens = 0;
  for (const std::string& line : lines) bytes += line.size();
  for (auto _ : state) {
    tokens = 0;
    for (const std::string& line : lines) tokens += bench_tokenizer()->encode(line).size();
  }
  report(state, static_cast<double>(bytes));
  state.counters["tokens"] = static_cast<double>(tokens);
  state.counters["Mtokens/s"] =
      benchmark::Counter(static_cast<double>(tokens) * 1e-6, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(encode)->Unit(benchmark::kMillisecond);

/// Text without a word that occurs twice: what the word cache of the tokenizer cannot help with.
void encode_without_repetition(benchmark::State& state) {
  if (!have_files(state)) return;
  std::mt19937_64 random(1);
  std::string text;
  uint64_t number = 0;
  for (auto _ : state) {
    state.PauseTiming();
    text.clear();
    while (text.size() < size_t{256} << 10) {
      text += ' ';
      for (uint64_t word = number++ * 0x9e3779b97f4a7c15ULL; word != 0; word /= 26)
        text += static_cast<char>('a' + word % 26);
    }
    state.ResumeTiming();
    benchmark::DoNotOptimize(bench_tokenizer()->encode(text));
  }
  report(state, static_cast<double>(text.size()));
}
BENCHMARK(encode_without_repetition)->Unit(benchmark::kMillisecond);

void decode(benchmark::State& state) {
  if (!have_files(state)) return;
  std::vector<TokenId> ids;
  for (const std::string& line : bench_lines()) {
    const std::vector<TokenId> more = bench_tokenizer()->encode(line);
    ids.insert(ids.end(), more.begin(), more.end());
  }
  size_t bytes = 0;
  for (auto _ : state) bytes = bench_tokenizer()->decode(ids, false).size();
  report(state, static_cast<double>(bytes));
}
BENCHMARK(decode)->Unit(benchmark::kMillisecond);

void read_lines(benchmark::State& state) {
  if (!have_files(state)) return;
  for (auto _ : state) {
    JsonLines reader(bench_text_file());
    RawRecord line;
    while (reader.next(line)) benchmark::DoNotOptimize(line.text.data());
  }
  report(state, static_cast<double>(fs::file_size(bench_text_file())));
}
BENCHMARK(read_lines)->Unit(benchmark::kMillisecond);

/// Lengths as of a chat data set: most short, a long tail.
std::vector<Segment> bench_samples(int64_t count, uint32_t longest) {
  std::mt19937 random(1);
  std::lognormal_distribution<double> length(4.5, 0.9);
  std::vector<Segment> samples;
  uint64_t begin = 0;
  for (int64_t i = 0; i < count; ++i) {
    const auto tokens = std::clamp<uint32_t>(static_cast<uint32_t>(length(random)), 4, longest);
    samples.push_back({.begin = begin, .length = tokens, .source = 0, .record_id = i});
    begin += tokens;
  }
  return samples;
}

/// Reads each segment once and writes it once.
void report_packing(benchmark::State& state, const std::vector<Segment>& samples, const Packing& packing,
                    uint32_t capacity) {
  report(state, 2.0 * sizeof(Segment) * static_cast<double>(samples.size()));
  state.counters["Msamples/s"] = benchmark::Counter(static_cast<double>(samples.size()) * 1e-6,
                                                    benchmark::Counter::kIsIterationInvariantRate);
  uint64_t tokens = 0;
  for (const Segment& segment : packing.segments) tokens += segment.length;
  state.counters["filled"] =
      static_cast<double>(tokens) / (static_cast<double>(packing.row_begin.size() - 1) * capacity);
}

void pack_best_fit(benchmark::State& state) {
  constexpr uint32_t kCapacity = 2048;
  const std::vector<Segment> samples = bench_samples(state.range(0), kCapacity);
  Packing packing;
  for (auto _ : state) packing = phalanx::data::pack_best_fit(samples, kCapacity);
  report_packing(state, samples, packing, kCapacity);
}
BENCHMARK(pack_best_fit)->ArgName("samples")->Arg(20'000)->Arg(500'000)->Unit(benchmark::kMillisecond);

void pack_split(benchmark::State& state) {
  constexpr uint32_t kCapacity = 2048;
  const std::vector<Segment> samples = bench_samples(state.range(0), 100'000);
  Packing packing;
  for (auto _ : state) packing = phalanx::data::pack_split(samples, kCapacity);
  report_packing(state, samples, packing, kCapacity);
}
BENCHMARK(pack_split)->ArgName("samples")->Arg(500'000)->Unit(benchmark::kMillisecond);

}  // namespace
