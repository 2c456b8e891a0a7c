#include "checkpoint/verify.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <tuple>

#include "checkpoint/damage.h"
#include "checkpoint/folder.h"
#include "checkpoint/parallel_tasks.h"
#include "checkpoint/storage.h"
#include "core/error.h"

namespace phalanx::checkpoint {

namespace {

constexpr uint64_t kMaxManifestBytes = uint64_t{1} << 30;
constexpr size_t kBlocksPerTask = 8;
constexpr size_t kMaxProblems = 16;

std::string last_name(const std::string& path) {
  const std::filesystem::path normal = std::filesystem::absolute(path).lexically_normal();
  return (normal.filename().empty() ? normal.parent_path() : normal).filename().string();
}

/// Directory and manifest must list the same files: neither more nor fewer, no links, the right sizes.
void compare_listing(const std::string& path, const Manifest& manifest, std::vector<std::string>& problems) {
  std::set<std::string> present;
  for (const Entry& entry : list(path)) {
    present.insert(entry.name);
    const std::string file = join(path, core::printable(entry.name));
    const FileEntry* listed = manifest.find_file(entry.name);
    if (entry.name != kManifestName && listed == nullptr) {
      problems.push_back(
          fmt::format("{}: is not listed in {}; it does not belong here", file, kManifestName));
    } else if (!entry.is_regular_file) {
      problems.push_back(fmt::format("{}: is not a regular file", file));
    } else if (listed != nullptr) {
      const uint64_t size_bytes = File(join(path, entry.name), File::Mode::kRead).size_bytes();
      if (size_bytes == listed->size_bytes) continue;
      std::string tensor;  // the first one that is cut or shifted
      for (const TensorEntry& candidate : manifest.tensors) {
        for (const Piece& piece : candidate.pieces) {
          if (tensor.empty() && piece.file == listed->name &&
              piece.offset_bytes + piece.size_bytes(candidate.dtype) > size_bytes) {
            tensor = fmt::format(", tensor {} at byte {} is not whole", core::printable(candidate.name),
                                 piece.offset_bytes);
          }
        }
      }
      problems.push_back(fmt::format("{}: has {} bytes but {} were written{}", file, size_bytes,
                                     listed->size_bytes, tensor));
    }
  }
  for (const FileEntry& file : manifest.files) {
    if (present.count(file.name) != 0) continue;
    size_t num_tensors = 0;
    std::string first;
    for (const TensorEntry& tensor : manifest.tensors) {
      const bool is_here = std::any_of(tensor.pieces.begin(), tensor.pieces.end(),
                                       [&](const Piece& p) { return p.file == file.name; });
      if (is_here && num_tensors++ == 0) first = tensor.name;
    }
    const std::string lost = num_tensors == 0 ? ""
                                              : fmt::format("; with it {} tensors, the first is {}",
                                                            num_tensors, core::printable(first));
    problems.push_back(fmt::format("{}: is missing{}", join(path, file.name), lost));
  }
}

/// The manifest and the listing; empty text if something is wrong with them.
std::string read_manifest(const std::string& path, Verdict& verdict) {
  const std::string file = join(path, kManifestName);
  try {
    if (!exists(file)) {
      verdict.problems.push_back(fmt::format("{}: is missing; this is no complete checkpoint", file));
      return {};
    }
    std::string text = read_whole_file(file, kMaxManifestBytes);
    Manifest manifest = parse_manifest(text, file);
    StepFolder folder;
    if (parse_step_folder(last_name(path), folder) && folder.step != manifest.step) {
      verdict.problems.push_back(
          fmt::format("{}: belongs to step {}, not to this folder", file, manifest.step));
    }
    compare_listing(path, manifest, verdict.problems);
    verdict.manifest = std::move(manifest);
    return text;
  } catch (const std::exception& error) {
    verdict.problems.emplace_back(error.what());
    return {};
  }
}

struct Block {
  size_t file, block;
};

/// The blocks of all files in one row, cut evenly over the ranks.
std::vector<Block> share_of(const Manifest& manifest, size_t rank, size_t num_ranks) {
  std::vector<Block> all;
  for (size_t file = 0; file < manifest.files.size(); ++file) {
    for (size_t block = 0; block < manifest.files[file].blocks.size(); ++block) all.push_back({file, block});
  }
  return {all.begin() + static_cast<int64_t>(all.size() * rank / num_ranks),
          all.begin() + static_cast<int64_t>(all.size() * (rank + 1) / num_ranks)};
}

std::vector<BadBlock> find_bad_blocks(const std::string& path, const Manifest& manifest,
                                      const std::vector<Block>& blocks, int num_threads) {
  std::vector<BadBlock> bad;
  std::mutex mutex;
  run_tasks((blocks.size() + kBlocksPerTask - 1) / kBlocksPerTask, num_threads, [&](size_t task) {
    std::vector<std::byte> buffer(kBlockBytes);
    std::unique_ptr<File> open;
    size_t open_file = SIZE_MAX;
    for (size_t i = task * kBlocksPerTask; i < std::min((task + 1) * kBlocksPerTask, blocks.size()); ++i) {
      const auto [file, block] = blocks[i];
      const FileEntry& entry = manifest.files[file];
      std::string read_error;
      try {
        if (open_file != file) open = std::make_unique<File>(join(path, entry.name), File::Mode::kRead);
        open_file = file;
        const uint64_t size_bytes = std::min(kBlockBytes, entry.size_bytes - block * kBlockBytes);
        open->read_at(block * kBlockBytes, buffer.data(), size_bytes);
        if (digest_of(buffer.data(), size_bytes) == entry.blocks[block]) continue;
      } catch (const StorageError& error) {
        read_error = error.what();
        open_file = SIZE_MAX;
      }
      const std::lock_guard lock(mutex);
      bad.push_back({file, block, read_error});
    }
  });
  std::sort(bad.begin(), bad.end(), [](const BadBlock& a, const BadBlock& b) {
    return std::tie(a.file, a.block) < std::tie(b.file, b.block);
  });
  return bad;
}

/// Makes the problems of one rank those of all.
void share_problems(comm::Communicator& ranks, Verdict& verdict) {
  std::vector<std::string> all;
  for (const std::string& text :
       ranks.all_gather_strings(fmt::format("{}", fmt::join(verdict.problems, "\n")))) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      if (std::find(all.begin(), all.end(), line) == all.end()) all.push_back(line);
    }
  }
  verdict.problems = std::move(all);
  if (!verdict.ok()) verdict.manifest.reset();
}

/// Ranks on other machines must mean the same folder.
void compare_manifests(comm::Communicator& ranks, const std::string& text, Verdict& verdict) {
  const auto digests = ranks.all_gather_strings(to_hex(digest_of(text)));
  for (size_t rank = 1; rank < digests.size(); ++rank) {
    if (digests[rank] == digests[0]) continue;
    verdict.problems.push_back(fmt::format(
        "{}: rank {} sees another manifest there than rank 0; the folder must be shared by all hosts",
        verdict.path, rank));
  }
}

}  // namespace

Verdict verify_checkpoint(comm::Communicator& ranks, const std::string& path, int num_threads) {
  const auto start = std::chrono::steady_clock::now();
  Verdict verdict;
  verdict.path = path;
  const std::string text = read_manifest(path, verdict);
  share_problems(ranks, verdict);
  if (verdict.ok()) compare_manifests(ranks, text, verdict);
  if (verdict.ok()) {
    const Manifest& manifest = *verdict.manifest;
    for (const FileEntry& file : manifest.files) verdict.size_bytes += file.size_bytes;
    const auto mine =
        share_of(manifest, static_cast<size_t>(ranks.rank()), static_cast<size_t>(ranks.size()));
    try {
      auto bad = find_bad_blocks(path, manifest, mine, num_threads > 0 ? num_threads : at::get_num_threads());
      const size_t num_bad = bad.size();
      bad.resize(std::min(num_bad, kMaxProblems));
      verdict.problems = describe_damage(path, manifest, bad);
      if (num_bad > bad.size())
        verdict.problems.push_back(fmt::format("{}: and {} more damaged blocks", path, num_bad - bad.size()));
    } catch (const std::exception& error) {
      verdict.problems.push_back(fmt::format("{}: could not be checked: {}", path, error.what()));
    }
    share_problems(ranks, verdict);
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  verdict.seconds = elapsed.count();
  return verdict;
}

std::vector<std::string> find_checkpoints(const std::string& path) {
  StepFolder folder;
  if (parse_step_folder(last_name(path), folder) || exists(join(path, kManifestName))) {
    if (exists(path)) return {path};
  }
  for (const std::string& candidate : {path, join(path, "checkpoints")}) {
    std::vector<std::string> paths;
    for (const int64_t step : committed_steps(candidate)) paths.push_back(join(candidate, step_name(step)));
    if (!paths.empty()) return paths;
  }
  core::fail(core::ExitCode::kBadInput,
             "{}: holds no checkpoint; give a run folder, its checkpoints folder, or one step_N folder in it",
             core::printable(path));
}

void verify_command(const std::string& path, std::ostream& out) {
  const auto single = comm::make_single_communicator();
  const std::vector<std::string> paths = find_checkpoints(path);
  size_t num_damaged = 0;
  std::string first_problem;
  for (const std::string& checkpoint : paths) {
    const Verdict verdict = verify_checkpoint(*single, checkpoint);
    if (verdict.ok()) {
      fmt::print(out, "{}: verified: step {}, {} files, {} tensors, {:.1f} MiB, {:.3f} s\n", checkpoint,
                 verdict.manifest->step, verdict.manifest->files.size() + 1, verdict.manifest->tensors.size(),
                 static_cast<double>(verdict.size_bytes) / (1 << 20), verdict.seconds);
      continue;
    }
    if (num_damaged++ == 0) first_problem = verdict.problems.front();
    fmt::print(out, "{}: DAMAGED\n", checkpoint);
    for (const std::string& problem : verdict.problems) fmt::print(out, "  {}\n", problem);
  }
  if (num_damaged > 0) {
    core::fail(core::ExitCode::kBadInput, "{} of {} checkpoints damaged: {}", num_damaged, paths.size(),
               first_problem);
  }
}

}  // namespace phalanx::checkpoint
