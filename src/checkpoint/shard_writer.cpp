#include "checkpoint/shard_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <future>

#include "checkpoint/container.h"
#include "checkpoint/finite.h"
#include "checkpoint/folder.h"
#include "core/error.h"

namespace phalanx::checkpoint {

namespace {

constexpr uint64_t kWritebackBytes = uint64_t{8} << 20;

/// The box of a slice as contiguous host memory; a view wherever that is possible.
at::Tensor host_bytes(const TensorSlice& slice, const Box& box) {
  at::Tensor part = slice.local;
  for (size_t d = 0; d < box.shape.size(); ++d) {
    part = part.narrow(static_cast<int64_t>(d), box.offset[d] - slice.offset[d], box.shape[d]);
  }
  return part.to(at::kCPU).contiguous();
}

/// Calls visit(pointer, place in the piece, size) over blocks that stay in the cache while they are looked
/// at.
template <typename Visit>
void for_each_block(const at::Tensor& bytes, const Visit& visit) {
  const auto* data = static_cast<const std::byte*>(bytes.data_ptr());
  const uint64_t size_bytes = bytes.nbytes();
  for (uint64_t begin = 0; begin < size_bytes; begin += kBlockBytes) {
    visit(data + begin, begin, std::min(kBlockBytes, size_bytes - begin));
  }
}

/// "[3, 17]" in the global tensor for the n-th element of a box.
std::string place_name(const Box& box, int64_t element) {
  std::vector<int64_t> index(box.shape.size());
  for (size_t d = box.shape.size(); d-- > 0; element /= box.shape[d])
    index[d] = box.offset[d] + element % box.shape[d];
  return fmt::format("[{}]", fmt::join(index, ", "));
}

void check_finite(const PlannedTensor& tensor, const Box& box, const std::byte* data, uint64_t place,
                  uint64_t size_bytes) {
  const auto element_bytes = static_cast<uint64_t>(core::block_bytes(tensor.dtype));
  const int64_t found =
      first_non_finite(tensor.dtype, data, static_cast<int64_t>(size_bytes / element_bytes));
  if (found < 0) return;
  core::fail(core::ExitCode::kNumerics,
             "tensor {} is NaN or infinite at {}; a checkpoint never holds such values", tensor.name,
             place_name(box, found + static_cast<int64_t>(place / element_bytes)));
}

}  // namespace

std::string shard_name(int rank) {
  return fmt::format("shard_{}.h5", rank);
}

ShardWriter::ShardWriter(std::string folder, const WritePlan& plan, const State& state, int rank)
    : path_(join(folder, shard_name(rank))), plan_(plan), slices_(state.tensors) {
  file_.name = shard_name(rank);
  for (size_t i = 0; i < plan.pieces.size(); ++i) {
    if (plan.pieces[i].writer == rank) pieces_.push_back({i, 0, {}});
  }
}

void ShardWriter::reserve() {
  std::vector<formats::TensorSpec> datasets;
  for (const Written& written : pieces_) {
    const PlannedPiece& piece = plan_.pieces[written.piece];
    const PlannedTensor& tensor = plan_.tensors[piece.tensor];
    datasets.push_back({dataset_name(tensor.name, tensor.shape, piece.box), tensor.dtype, piece.box.shape});
  }
  const std::vector<uint64_t> places = create_container(path_, datasets);
  for (size_t i = 0; i < places.size(); ++i) pieces_[i].offset_bytes = places[i];
  descriptor_ = std::make_unique<File>(path_, File::Mode::kWriteExisting);
  file_.size_bytes = descriptor_->size_bytes();
  descriptor_->reserve(file_.size_bytes);
}

void ShardWriter::write() {
  uint64_t waiting_from = 0, waiting_to = 0;
  for (Written& written : pieces_) {
    write_piece(written);
    waiting_to = std::max(waiting_to, written.offset_bytes + plan_.pieces[written.piece].size_bytes);
    if (waiting_to - waiting_from < kWritebackBytes) continue;
    descriptor_->start_writeback(waiting_from, waiting_to - waiting_from);
    waiting_from = waiting_to;
  }
}

void ShardWriter::write_piece(Written& written) {
  const PlannedPiece& piece = plan_.pieces[written.piece];
  const PlannedTensor& tensor = plan_.tensors[piece.tensor];
  const at::Tensor bytes = host_bytes(*slices_.find(tensor.name, piece.box), piece.box);
  DigestStream digest;
  for_each_block(bytes, [&](const std::byte* data, uint64_t place, uint64_t size_bytes) {
    check_finite(tensor, piece.box, data, place, size_bytes);
    digest.update(data, size_bytes);
    descriptor_->write_at(written.offset_bytes + place, data, size_bytes);
  });
  written.digest = digest.finish();
}

void ShardWriter::sync_and_check() {
  // The read-back meets the page cache, so it runs while the disk works.
  std::future<void> synced = std::async(std::launch::async, [this] { descriptor_->sync(); });
  check_blocks();
  synced.get();
  descriptor_.reset();
}

void ShardWriter::check_blocks() {
  std::vector<const Written*> order;
  for (const Written& written : pieces_) {
    if (plan_.pieces[written.piece].size_bytes > 0) order.push_back(&written);
  }
  std::sort(order.begin(), order.end(),
            [](const Written* a, const Written* b) { return a->offset_bytes < b->offset_bytes; });
  const auto end_of = [&](const Written& w) { return w.offset_bytes + plan_.pieces[w.piece].size_bytes; };

  std::vector<std::byte> block(kBlockBytes);
  DigestStream digest;
  size_t current = 0;
  for (uint64_t begin = 0; begin < file_.size_bytes; begin += kBlockBytes) {
    const uint64_t end = std::min(begin + kBlockBytes, file_.size_bytes);
    descriptor_->read_at(begin, block.data(), end - begin);
    file_.blocks.push_back(digest_of(block.data(), end - begin));
    while (current < order.size() && order[current]->offset_bytes < end) {
      const Written& written = *order[current];
      const uint64_t from = std::max(begin, written.offset_bytes), to = std::min(end, end_of(written));
      digest.update(block.data() + (from - begin), to - from);
      if (to < end_of(written)) break;  // goes on in the next block
      if (digest.finish() != written.digest) {
        throw StorageError(
            path_,
            fmt::format("reading tensor {} back at byte {} (other bytes than were written)",
                        plan_.tensors[plan_.pieces[written.piece].tensor].name, written.offset_bytes),
            EIO);
      }
      digest = DigestStream();
      ++current;
    }
  }
}

Digest digest_in_memory(const TensorSlice& slice, const Box& box) {
  const at::Tensor bytes = host_bytes(slice, box);
  DigestStream digest;
  for_each_block(
      bytes, [&](const std::byte* data, uint64_t, uint64_t size_bytes) { digest.update(data, size_bytes); });
  return digest.finish();
}

}  // namespace phalanx::checkpoint
