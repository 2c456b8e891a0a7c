#include "checkpoint/load.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>

#include "checkpoint/agreement.h"
#include "checkpoint/folder.h"
#include "checkpoint/parallel_tasks.h"
#include "checkpoint/slice_table.h"
#include "checkpoint/storage.h"
#include "core/error.h"

namespace phalanx::checkpoint {

namespace {

constexpr uint64_t kBufferBytes = uint64_t{8} << 20;
constexpr size_t kMaxProblems = 8;

/// The shards that are read, each opened once; reading at a place is safe from many threads.
class OpenFiles {
 public:
  OpenFiles(const std::string& folder, const Manifest& manifest) {
    for (const FileEntry& file : manifest.files) {
      if (file.name != kIndexName)
        files_[file.name] = std::make_unique<File>(join(folder, file.name), File::Mode::kRead);
    }
  }
  const File& at(const std::string& name) const { return *files_.at(name); }

 private:
  std::map<std::string, std::unique_ptr<File>> files_;
};

std::string list_of(const std::vector<std::string>& problems) {
  const size_t shown = std::min(problems.size(), kMaxProblems);
  std::string text =
      fmt::format("{}", fmt::join(problems.begin(), problems.begin() + static_cast<int64_t>(shown), "; "));
  if (problems.size() > shown) text += fmt::format("; and {} more", problems.size() - shown);
  return text;
}

bool is_ignored(const std::string& name, const LoadOptions& options) {
  return std::any_of(options.ignore_prefixes.begin(), options.ignore_prefixes.end(),
                     [&](const std::string& prefix) { return name.starts_with(prefix); });
}

/// Both sides against each other; one line for each tensor that does not fit.
std::vector<std::string> compare(const Manifest& manifest, const std::map<std::string, SharedTensor>& wanted,
                                 const LoadOptions& options) {
  std::vector<std::string> problems;
  for (const auto& [name, tensor] : wanted) {
    const TensorEntry* stored = manifest.find(name);
    if (stored == nullptr) {
      problems.push_back(fmt::format("tensor {} is not in the checkpoint", core::printable(name)));
    } else if (stored->dtype != tensor.dtype || stored->shape != tensor.shape) {
      problems.push_back(fmt::format("tensor {} is {} [{}] in the checkpoint but {} [{}] here",
                                     core::printable(name), core::name(stored->dtype),
                                     fmt::join(stored->shape, ", "), core::name(tensor.dtype),
                                     fmt::join(tensor.shape, ", ")));
    }
  }
  for (const TensorEntry& stored : manifest.tensors) {
    const auto it = wanted.find(stored.name);
    if (it == wanted.end()) {
      if (!is_ignored(stored.name, options))
        problems.push_back(fmt::format("tensor {} would stay unread", core::printable(stored.name)));
      continue;
    }
    int64_t num_read = 0;
    for (const auto& [box, holders] : it->second.slices) num_read += box.num_elements();
    const int64_t num_stored = whole(stored.shape).num_elements();
    if (num_read < num_stored) {
      problems.push_back(fmt::format("only {} of {} elements of tensor {} would be read", num_read,
                                     num_stored, core::printable(stored.name)));
    }
  }
  return problems;
}

/// A piece that is read whole into its final place can be compared once more with its digest, at no further
/// reading.
void check_piece(const TensorEntry& tensor, const Piece& piece, const void* data, const std::string& path) {
  if (digest_of(data, piece.size_bytes(tensor.dtype)) == piece.digest) return;
  core::fail(core::ExitCode::kStorage, "{}: {}: tensor {} at byte {} has changed since it was verified", path,
             piece.file, core::printable(tensor.name), piece.offset_bytes);
}

/// Copies `region` of a piece into `target`, an array laid out as `box`, a band of the first dimension at a
/// time.
void read_banded(const File& file, const Piece& piece, int64_t element_bytes, const Box& region,
                 const Box& box, std::byte* target) {
  const int64_t row_bytes =
      std::max<int64_t>(1, piece.box.num_elements() / piece.box.shape[0] * element_bytes);
  const int64_t rows_per_band = std::max<int64_t>(1, static_cast<int64_t>(kBufferBytes) / row_bytes);
  std::vector<std::byte> buffer;
  for (int64_t row = 0; row < region.shape[0]; row += rows_per_band) {
    Box band = region, source = piece.box;
    band.offset[0] = source.offset[0] = region.offset[0] + row;
    band.shape[0] = source.shape[0] = std::min(rows_per_band, region.shape[0] - row);
    buffer.resize(static_cast<size_t>(source.shape[0] * row_bytes));
    file.read_at(
        piece.offset_bytes + static_cast<uint64_t>((band.offset[0] - piece.box.offset[0]) * row_bytes),
        buffer.data(), buffer.size());
    for_each_run(band, source, box, [&](int64_t from, int64_t to, int64_t count) {
      std::copy_n(buffer.data() + from * element_bytes, count * element_bytes, target + to * element_bytes);
    });
  }
}

void read_piece(const OpenFiles& files, const TensorEntry& tensor, const Piece& piece, const Box& box,
                std::byte* target, const std::string& path) {
  const auto region = intersection(piece.box, box);
  if (!region) return;
  const int64_t element_bytes = core::block_bytes(tensor.dtype);
  const auto run = single_run(*region, piece.box, box);
  if (!run) return read_banded(files.at(piece.file), piece, element_bytes, *region, box, target);
  const auto [from, to] = *run;
  const auto size_bytes = static_cast<size_t>(region->num_elements() * element_bytes);
  files.at(piece.file)
      .read_at(piece.offset_bytes + static_cast<uint64_t>(from * element_bytes), target + to * element_bytes,
               size_bytes);
  if (*region == piece.box) check_piece(tensor, piece, target + to * element_bytes, path);
}

void read_slice(const OpenFiles& files, const TensorEntry& tensor, const TensorSlice& slice,
                const std::string& path) {
  c10::NoGradGuard no_grad;
  const bool is_direct = slice.local.is_cpu() && slice.local.is_contiguous();
  const at::Tensor target =
      is_direct ? slice.local : at::empty(slice.local.sizes(), slice.local.options().device(at::kCPU));
  for (const Piece& piece : tensor.pieces) {
    read_piece(files, tensor, piece, slice.box(), static_cast<std::byte*>(target.data_ptr()), path);
  }
  if (!is_direct) slice.local.copy_(target);
}

}  // namespace

void load(comm::Communicator& ranks, const std::string& path, const Manifest& manifest,
          const std::vector<TensorSlice>& slices, const LoadOptions& options) {
  const std::map<std::string, SharedTensor> wanted = gather_slices(ranks, slices);
  const std::vector<std::string> problems = compare(manifest, wanted, options);
  if (!problems.empty())
    core::fail(core::ExitCode::kBadInput, "{}: does not fit this run: {}", path, list_of(problems));
  agree(ranks, "load", [&] {
    const OpenFiles files(path, manifest);
    const int num_threads = options.num_threads > 0 ? options.num_threads : at::get_num_threads();
    run_tasks(slices.size(), num_threads,
              [&](size_t i) { read_slice(files, *manifest.find(slices[i].name), slices[i], path); });
  });
}

at::Tensor load_tensor(const std::string& path, const Manifest& manifest, const std::string& name) {
  const TensorEntry* tensor = manifest.find(name);
  if (tensor == nullptr)
    core::fail(core::ExitCode::kBadInput, "{}: has no tensor {}", path, core::printable(name));
  TensorSlice slice =
      whole_tensor(name, at::empty(tensor->shape, at::TensorOptions().dtype(scalar_type(tensor->dtype))));
  read_slice(OpenFiles(path, manifest), *tensor, slice, path);
  return slice.local;
}

}  // namespace phalanx::checkpoint
