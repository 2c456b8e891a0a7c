#include "parallel/pipeline_diagram.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "parallel/pipeline_simulation.h"

namespace phalanx::parallel {
namespace {

using enum PipelineAction;

std::string label(const PipelinePlan& plan, const PipelineStep& step) {
  const bool small = plan.chunks_per_rank == 2 && step.chunk == 1;
  const char letter = (small ? "fbbw" : "FBBW")[static_cast<size_t>(step.action)];
  std::string text = fmt::format("{}{}", letter, step.micro_batch);
  if (plan.chunks_per_rank <= 2) return text;
  if (plan.chunks_per_rank <= 26) return text + static_cast<char>('a' + step.chunk);
  return fmt::format("{}/{}", text, step.chunk);
}

size_t longest_label(const PipelinePlan& plan) {
  size_t longest = 0;
  for (const auto& list : plan.steps)
    for (const PipelineStep& step : list) longest = std::max(longest, label(plan, step).size());
  return longest;
}

/// How the cells are laid out, in characters.
struct Grid {
  size_t num_cells = 0;
  size_t filled = 0;        // of each cell, the rest is a gap
  size_t width = 0;         // of a cell with its gap
  size_t margin = 0;        // before the first cell
  size_t cells_a_line = 0;  // in each block
  size_t line_width() const { return (cells_a_line - 1) * width + filled; }
};

Grid make_grid(const PipelinePlan& plan, const PipelineTiming& timing, size_t max_columns) {
  Grid grid;
  grid.num_cells = static_cast<size_t>(std::lround(timing.makespan));
  grid.filled = longest_label(plan);
  grid.margin = fmt::format("rank {}  ", plan.num_ranks - 1).size();
  const size_t room = max_columns > grid.margin ? max_columns - grid.margin : 0;
  size_t gap = 1;  // in blocks; more or less if that makes or keeps it one block
  for (const size_t candidate : {0, 1, 2})
    if (grid.num_cells * (grid.filled + candidate) <= room + candidate) gap = candidate;
  grid.width = grid.filled + gap;
  grid.cells_a_line = std::max<size_t>(1, (room + gap) / grid.width);
  return grid;
}

/// The numbers of every fifth of the cells from `begin` on, each above its cell's first character.
std::string ruler(const Grid& grid, size_t begin) {
  const size_t end = std::min(grid.num_cells, begin + grid.cells_a_line);
  std::string text(grid.line_width(), ' ');
  for (size_t cell = (begin + 4) / 5 * 5; cell < end; cell += 5) {
    const std::string number = std::to_string(cell);
    const size_t column = (cell - begin) * grid.width;
    if (column + number.size() <= text.size()) text.replace(column, number.size(), number);
  }
  return text;
}

/// All cells of one rank.
std::string row(const PipelinePlan& plan, const PipelineTiming& timing, size_t rank, const Grid& grid) {
  const size_t gap = grid.width - grid.filled;
  std::string text;
  for (size_t cell = 0; cell < grid.num_cells; ++cell)
    text += std::string(grid.filled, '.') + std::string(gap, ' ');
  for (size_t i = 0; i < plan.steps[rank].size(); ++i) {
    const auto start = static_cast<size_t>(std::lround(timing.steps[rank][i].start));
    const auto end = static_cast<size_t>(std::lround(timing.steps[rank][i].end));
    const std::string name = label(plan, plan.steps[rank][i]);
    std::string cells((end - start) * grid.width - gap, end - start > 1 ? '-' : ' ');
    cells.replace(0, name.size(), name);
    text.replace(start * grid.width, cells.size(), cells);
  }
  return text;
}

/// The ruler and the ranks, in as many blocks below each other as it takes.
std::string picture(const PipelinePlan& plan, const PipelineTiming& timing, size_t max_columns) {
  const Grid grid = make_grid(plan, timing, max_columns);
  std::vector<std::string> rows;
  for (size_t rank = 0; rank < plan.steps.size(); ++rank) rows.push_back(row(plan, timing, rank, grid));

  std::string text;
  const auto add_line = [&](const std::string& name, const std::string& cells) {
    std::string line = fmt::format("{:<{}}{}", name, grid.margin, cells);
    text += line.erase(line.find_last_not_of(' ') + 1) + "\n";
  };
  for (size_t begin = 0; begin < grid.num_cells; begin += grid.cells_a_line) {
    if (begin > 0) text += "\n";
    add_line("", ruler(grid, begin));
    for (size_t rank = 0; rank < rows.size(); ++rank)
      add_line(fmt::format("rank {}", rank), rows[rank].substr(begin * grid.width, grid.line_width()));
  }
  return text;
}

std::string title(const PipelinePlan& plan) {
  const auto plural = [](int64_t count, const char* one, const char* many) {
    return fmt::format("{} {}", count, count == 1 ? one : many);
  };
  std::string text = fmt::format("{}, {}", name(plan.kind), plural(plan.num_ranks, "rank", "ranks"));
  if (plan.chunks_per_rank > 1) text += fmt::format(" x {} chunks", plan.chunks_per_rank);
  return text + ", " + plural(plan.num_micro_batches, "micro-batch", "micro-batches") + "\n";
}

std::string key(const PipelinePlan& plan) {
  bool split = false;
  for (const PipelineStep& step : plan.steps.front()) split |= step.action == kBackwardWeight;
  std::string text = "F forward, ";
  text += split ? "B gradient of the input, W gradient of the weights" : "B-- backward";
  if (plan.chunks_per_rank == 2) text += "; small letters: chunk 1";
  if (plan.chunks_per_rank > 2 && plan.chunks_per_rank <= 26) text += "; last letter: chunk";
  return text + "\n";
}

}  // namespace

std::string draw_pipeline_plan(const PipelinePlan& plan, int64_t max_columns) {
  const PipelineTiming timing = simulate_pipeline(plan);
  return title(plan) + picture(plan, timing, static_cast<size_t>(std::max<int64_t>(max_columns, 0))) +
         key(plan) +
         fmt::format("idle {:.1f} % of {:.0f} cells; live activations by rank, in micro-batches: {:.3g}\n",
                     100 * timing.total_idle_share, timing.makespan,
                     fmt::join(timing.peak_activations, ", "));
}

}  // namespace phalanx::parallel
