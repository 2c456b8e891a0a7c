#include "checkpoint/save.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "checkpoint/agreement.h"
#include "checkpoint/container.h"
#include "checkpoint/environment.h"
#include "checkpoint/folder.h"
#include "checkpoint/manifest.h"
#include "checkpoint/shard_writer.h"
#include "checkpoint/storage.h"
#include "checkpoint/write_plan.h"
#include "core/error.h"

namespace phalanx::checkpoint {

namespace {

using Json = nlohmann::json;

uint64_t needed_bytes(const WritePlan& plan, uint64_t spare_bytes) {
  return plan.total_bytes() + plan.total_bytes() / 20 + spare_bytes;
}

/// For the alert: what a checkpoint takes and what is there.
std::string space_text(const std::string& folder, const WritePlan& plan, uint64_t spare_bytes) {
  const uint64_t needed = needed_bytes(plan, spare_bytes);
  try {
    const Space space = space_at(folder);
    return fmt::format("{} bytes ({:.1f} MiB) are needed, {} bytes ({:.1f} MiB) and {} inodes are free in {}",
                       needed, static_cast<double>(needed) / (1 << 20), space.free_bytes,
                       static_cast<double>(space.free_bytes) / (1 << 20), space.free_inodes, folder);
  } catch (const StorageError& error) {
    return fmt::format("{} bytes are needed, {}", needed, error.what());
  }
}

/// Rank 0 looks before anything is written; the reservations of the ranks then make it certain.
void check_space(const std::string& folder, const WritePlan& plan, uint64_t spare_bytes) {
  const Space space = space_at(folder);
  const uint64_t needed_inodes = plan.rank_bytes.size() + 3;  // folder, index, manifest
  if (space.free_bytes < needed_bytes(plan, spare_bytes) || space.free_inodes < needed_inodes) {
    throw StorageError(folder, "reserving space", ENOSPC);
  }
}

/// What one rank tells rank 0 about its shard and about its copies of what others wrote.
std::string report(const ShardWriter& shard, const WritePlan& plan, const SliceIndex& slices, int rank,
                   bool check_replicas) {
  std::string blocks;
  for (const Digest& block : shard.file().blocks) blocks += to_hex(block);
  Json written = Json::array(), copies = Json::array();
  for (const auto& piece : shard.pieces())
    written.push_back({piece.piece, piece.offset_bytes, to_hex(piece.digest)});
  for (size_t i = 0; check_replicas && i < plan.pieces.size(); ++i) {
    const PlannedPiece& piece = plan.pieces[i];
    if (piece.writer == rank || !std::binary_search(piece.holders.begin(), piece.holders.end(), rank))
      continue;
    copies.push_back(
        {i, to_hex(digest_in_memory(*slices.find(plan.tensors[piece.tensor].name, piece.box), piece.box))});
  }
  return Json{
      {"bytes", shard.file().size_bytes}, {"blocks", blocks}, {"written", written}, {"copies", copies}}
      .dump();
}

FileEntry file_entry(const std::string& name, const Json& json) {
  FileEntry file{.name = name, .size_bytes = json.at("bytes").get<uint64_t>(), .blocks = {}};
  const auto& blocks = json.at("blocks").get_ref<const std::string&>();
  for (size_t i = 0; i < blocks.size(); i += 32)
    from_hex(std::string_view(blocks).substr(i, 32), file.blocks.emplace_back());
  return file;
}

FileEntry file_entry_of(const std::string& path, const std::string& name) {
  const std::string text = read_whole_file(path, UINT64_MAX);
  FileEntry file{.name = name, .size_bytes = text.size(), .blocks = {}};
  for (size_t i = 0; i < text.size(); i += kBlockBytes) {
    file.blocks.push_back(digest_of(text.data() + i, std::min<size_t>(kBlockBytes, text.size() - i)));
  }
  return file;
}

/// Files and tensors of the manifest from the ranks' reports.
void collect(Manifest& manifest, const WritePlan& plan, const std::vector<Json>& reports) {
  std::vector<Piece> pieces(plan.pieces.size());
  for (size_t rank = 0; rank < reports.size(); ++rank) {
    manifest.files.push_back(file_entry(shard_name(static_cast<int>(rank)), reports[rank]));
    for (const Json& item : reports[rank].at("written")) {
      Piece& piece = pieces.at(item.at(0).get<size_t>());
      piece.file = manifest.files.back().name;
      piece.offset_bytes = item.at(1).get<uint64_t>();
      from_hex(item.at(2).get<std::string>(), piece.digest);
    }
  }
  for (const PlannedTensor& tensor : plan.tensors)
    manifest.tensors.push_back({tensor.name, tensor.dtype, tensor.shape, {}});
  for (size_t i = 0; i < pieces.size(); ++i) {
    pieces[i].box = plan.pieces[i].box;
    manifest.tensors[plan.pieces[i].tensor].pieces.push_back(std::move(pieces[i]));
  }
}

/// Data-parallel copies that are not the same bits are silent corruption: such a state is not worth keeping.
void check_copies(const WritePlan& plan, const std::vector<Json>& reports) {
  std::vector<std::string> digests(plan.pieces.size());
  for (const Json& rank_report : reports) {
    for (const Json& item : rank_report.at("written"))
      digests.at(item.at(0).get<size_t>()) = item.at(2).get<std::string>();
  }
  for (size_t rank = 0; rank < reports.size(); ++rank) {
    for (const Json& item : reports[rank].at("copies")) {
      const size_t i = item.at(0).get<size_t>();
      if (item.at(1).get<std::string>() == digests.at(i)) continue;
      core::fail(core::ExitCode::kNumerics,
                 "tensor {} {}: the copy of rank {} is not the same bits as that of rank {}",
                 plan.tensors[plan.pieces[i].tensor].name, to_string(plan.pieces[i].box), rank,
                 plan.pieces[i].writer);
    }
  }
}

void write_manifest(const std::string& partial, const WritePlan& plan,
                    const std::vector<std::string>& reports, const State& state, const SaveOptions& options) {
  std::vector<Json> parsed;
  for (const std::string& text : reports) parsed.push_back(Json::parse(text));
  check_copies(plan, parsed);
  Manifest manifest{.step = options.step,
                    .incarnation = options.incarnation,
                    .num_ranks = static_cast<int64_t>(reports.size()),
                    .environment = current_environment(),
                    .scalars = state.scalars,
                    .files = {},
                    .tensors = {}};
  collect(manifest, plan, parsed);
  const std::string index = join(partial, kIndexName);
  write_index(index, manifest.tensors);
  manifest.files.push_back(file_entry_of(index, std::string(kIndexName)));
  std::sort(manifest.files.begin(), manifest.files.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  write_new_file(join(partial, kManifestName), to_text(manifest));
  sync_folder(partial);
}

}  // namespace

Saved save(comm::Communicator& ranks, const State& state, const SaveOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const bool leads = ranks.rank() == 0;
  const std::string partial = join(options.checkpoints, partial_name(options.step, options.incarnation));
  const std::string committed = join(options.checkpoints, step_name(options.step));
  const WritePlan plan = make_write_plan(ranks, state);
  try {
    agree(ranks, "prepare", [&] {
      if (!leads) return;
      check_space(options.checkpoints, plan, options.spare_bytes);
      if (exists(partial)) remove_tree(partial);  // of an attempt of this life that failed
      make_folder(partial);
    });
    ShardWriter shard(partial, plan, state, ranks.rank());
    std::string mine;
    agree(ranks, "reserve", [&] { shard.reserve(); });
    agree(ranks, "write", [&] { shard.write(); });
    agree(ranks, "sync", [&] {
      shard.sync_and_check();
      mine = report(shard, plan, SliceIndex(state.tensors), ranks.rank(), options.check_replicas);
    });
    const std::vector<std::string> reports = ranks.all_gather_strings(mine);
    agree(ranks, "manifest", [&] {
      if (leads) write_manifest(partial, plan, reports, state, options);
    });
    agree(ranks, "commit", [&] {
      if (!leads) return;
      if (options.lease != nullptr) options.lease->check_still_held();
      rename_new(partial, committed);
      sync_folder(options.checkpoints);
    });
  } catch (const PhaseFailed& failure) {
    if (leads) remove_tree(partial);
    if (failure.code() != core::ExitCode::kStorage) throw;
    const std::string space =
        ranks.broadcast_string(leads ? space_text(options.checkpoints, plan, options.spare_bytes) : "");
    throw PhaseFailed(failure.code(), fmt::format("{}; {}", failure.what(), space));
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  return {.path = committed, .tensor_bytes = plan.total_bytes(), .seconds = elapsed.count()};
}

}  // namespace phalanx::checkpoint
