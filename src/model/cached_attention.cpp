#include "model/cached_attention.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "model/wide.h"
#include "ops/batch_invariant.h"
#include "ops/last_queries.h"

namespace phalanx::model {
namespace {

constexpr int64_t kPiece = 512;   // cached tokens that one task looks at
constexpr int64_t kMaxSteps = 8;  // head sizes up to 256
constexpr int64_t kBlock = 64;    // scores that are held at a time
constexpr int64_t kLanes = wide::kStep / 2;

// One new token, one key/value head with the `group` query heads that share it, one piece of the context.
struct Task {
  int64_t row, kv_head;
  const int64_t* pages;
  int64_t begin, end;
};

struct Shapes {
  int64_t num_heads, num_kv_heads, group, head_dim, page_tokens, steps;
};

// Softmax numerator of one piece: sum of exp(score - max) and of exp(score - max) v, in fp32.
struct Partial {
  float max, sum;
};

template <typename T>
struct Run {
  const T* q;
  const T *const *keys, *const *values;  // slabs of pages [K][page_tokens][d]
  Shapes shapes;
  float scale, softcap;
  Partial* partials;  // [tasks][group]
  float* outputs;     // [tasks][group][steps * kStep], in lane order
};

template <typename T>
[[gnu::always_inline]] inline wide::Pair load_step(const T* row, int64_t step, int64_t head_dim) {
  const int64_t left = head_dim - step * wide::kStep;
  return left >= wide::kStep ? wide::load(row + step * wide::kStep)
                             : wide::load_tail(row + step * wide::kStep, left);
}

// q . k of one key, one sum for each lane.
template <typename T>
[[gnu::always_inline]] inline wide::Floats key_products(const Run<T>& run, const wide::Pair* query,
                                                        const T* key) {
  wide::Floats first = {}, second = {};
  for (int64_t s = 0; s < run.shapes.steps; ++s) {
    const wide::Pair part = load_step(key, s, run.shapes.head_dim);
    first += query[s].first * part.first;
    second += query[s].second * part.second;
  }
  return first + second;
}

// scores[i] = scale * q . k_i for one query head; -inf up to whole vectors.
template <typename T>
[[gnu::always_inline]] inline void block_scores(const Run<T>& run, const T* q, const T* keys, int64_t count,
                                                float* scores) {
  const int64_t steps = run.shapes.steps, d = run.shapes.head_dim;
  wide::Pair query[kMaxSteps];
  for (int64_t s = 0; s < steps; ++s) query[s] = load_step(q, s, d);
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    wide::Floats products[4];
#pragma GCC unroll 4
    for (int64_t j = 0; j < 4; ++j) products[j] = key_products(run, query, keys + (i + j) * d);
    wide::sum_four(products, scores + i);
  }
  for (; i < count; ++i) scores[i] = wide::sum(key_products(run, query, keys + i * d));
  for (int64_t j = 0; j < count; ++j) scores[j] *= run.scale;
  if (run.softcap > 0) {
    for (int64_t j = 0; j < count; ++j) scores[j] = run.softcap * std::tanh(scores[j] / run.softcap);
  }
  for (int64_t j = count; j % kLanes != 0; ++j) scores[j] = -std::numeric_limits<float>::infinity();
}

// scores become exp(score - new maximum), and join `total`; returns what earlier sums must be multiplied by.
[[gnu::always_inline]] inline float exponentials(float* scores, int64_t count, Partial& total) {
  wide::Floats largest = wide::Floats{} + total.max, sums = {};
  const auto vector = [&](int64_t i) __attribute__((always_inline)) {
    wide::Floats v;
    std::memcpy(&v, scores + i, sizeof(v));
    return v;
  };
  for (int64_t i = 0; i < count; i += kLanes) largest = wide::larger(largest, vector(i));
  const float max = wide::largest(largest), rescale = std::exp(total.max - max);
  for (int64_t i = 0; i < count; i += kLanes) {
    const wide::Floats weights = wide::exponential(vector(i) - max);
    sums += weights;
    std::memcpy(scores + i, &weights, sizeof(weights));
  }
  total = {max, total.sum * rescale + wide::sum(sums)};
  return rescale;
}

template <typename T>
[[gnu::always_inline]] inline void add_values(const Run<T>& run, const T* values, int64_t count,
                                              const float* weights, float rescale, float* output) {
  const int64_t steps = run.shapes.steps, d = run.shapes.head_dim;
  wide::Pair sums[kMaxSteps];
  for (int64_t s = 0; s < steps; ++s) {
    sums[s] = wide::load(output + s * wide::kStep);
    sums[s].first *= rescale;
    sums[s].second *= rescale;
  }
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t s = 0; s < steps; ++s) {
      const wide::Pair value = load_step(values + i * d, s, d);
      sums[s].first += weights[i] * value.first;
      sums[s].second += weights[i] * value.second;
    }
  }
  for (int64_t s = 0; s < steps; ++s) std::memcpy(output + s * wide::kStep, &sums[s], sizeof(wide::Pair));
}

template <typename T>
[[gnu::always_inline]] inline void attend_body(const Run<T>& run, const Task& task, int64_t index) {
  const Shapes& shapes = run.shapes;
  const int64_t d = shapes.head_dim, page_tokens = shapes.page_tokens;
  for (int64_t g = 0; g < shapes.group; ++g) {
    const T* q = run.q + (task.row * shapes.num_heads + task.kv_head * shapes.group + g) * d;
    float* output = run.outputs + (index * shapes.group + g) * shapes.steps * wide::kStep;
    std::fill(output, output + shapes.steps * wide::kStep, 0.0F);
    Partial total{-std::numeric_limits<float>::infinity(), 0};
    for (int64_t begin = task.begin, count; begin < task.end; begin += count) {
      const int64_t page = task.pages[begin / page_tokens], slot = begin % page_tokens;
      const int64_t slab = page / KvPages::kSlabPages, in_slab = page % KvPages::kSlabPages;
      const int64_t offset = ((in_slab * shapes.num_kv_heads + task.kv_head) * page_tokens + slot) * d;
      count = std::min({kBlock, task.end - begin, page_tokens - slot});
      float scores[kBlock];
      block_scores(run, q, run.keys[slab] + offset, count, scores);
      const float rescale = exponentials(scores, count, total);
      add_values(run, run.values[slab] + offset, count, scores, rescale, output);
    }
    run.partials[index * shapes.group + g] = total;
  }
}
PHALANX_DISPATCH(attend, attend_body, (const Run<T>& run, const Task& task, int64_t index),
                 (run, task, index))

std::vector<Task> make_tasks(const Shapes& shapes, const std::vector<CachedRows>& sequences, int64_t window) {
  std::vector<Task> tasks;
  for (const CachedRows& rows : sequences) {
    for (int64_t i = 0; i < rows.num_rows; ++i) {
      const int64_t visible = rows.length + i + 1;
      const int64_t first = window > 0 ? std::max<int64_t>(0, visible - window) : 0;
      for (int64_t head = 0; head < shapes.num_kv_heads; ++head) {
        for (int64_t begin = first; begin < visible; begin += kPiece)
          tasks.push_back({rows.first_row + i, head, rows.pages, begin, std::min(visible, begin + kPiece)});
      }
    }
  }
  return tasks;
}

bool same_output(const Task& a, const Task& b) {
  return a.row == b.row && a.kv_head == b.kv_head;
}

// Joins the pieces of one token and head: they stand next to each other in `tasks`.
template <typename T>
void merge(const Run<T>& run, const std::vector<Task>& tasks, size_t first, size_t last, T* out) {
  const Shapes& shapes = run.shapes;
  const int64_t padded = shapes.steps * wide::kStep;
  float sums[kMaxSteps * wide::kStep], ordered[kMaxSteps * wide::kStep];
  for (int64_t g = 0; g < shapes.group; ++g) {
    float max = -std::numeric_limits<float>::infinity(), total = 0;
    for (size_t t = first; t < last; ++t) max = std::max(max, run.partials[t * shapes.group + g].max);
    std::fill(sums, sums + padded, 0.0F);
    for (size_t t = first; t < last; ++t) {
      const Partial& partial = run.partials[t * shapes.group + g];
      const float weight = std::exp(partial.max - max);
      total += weight * partial.sum;
      const float* piece = run.outputs + (t * shapes.group + g) * padded;
      for (int64_t i = 0; i < padded; ++i) sums[i] += weight * piece[i];
    }
    for (int64_t s = 0; s < shapes.steps; ++s) {
      wide::unstage(wide::load(sums + s * wide::kStep), ordered + s * wide::kStep, static_cast<T*>(nullptr));
    }
    T* row = out + (tasks[first].row * shapes.num_heads + tasks[first].kv_head * shapes.group + g) *
                       shapes.head_dim;
    for (int64_t i = 0; i < shapes.head_dim; ++i) row[i] = static_cast<T>(ordered[i] / total);
  }
}

template <typename T>
std::vector<const T*> data_of(const std::vector<at::Tensor>& slabs) {
  std::vector<const T*> data;
  for (const at::Tensor& slab : slabs) data.push_back(slab.const_data_ptr<T>());
  return data;
}

template <typename T>
void run_tasks(const at::Tensor& q, const KvPages& pages, const Shapes& shapes,
               const std::vector<Task>& tasks, const ops::AttentionOptions& options, T* out) {
  static thread_local std::vector<Partial> partials;
  static thread_local std::vector<float> outputs;
  partials.resize(tasks.size() * static_cast<size_t>(shapes.group));
  outputs.resize(tasks.size() * static_cast<size_t>(shapes.group * shapes.steps * wide::kStep));
  const std::vector<const T*> keys = data_of<T>(pages.key_slabs()), values = data_of<T>(pages.value_slabs());
  const Run<T> run{q.const_data_ptr<T>(),
                   keys.data(),
                   values.data(),
                   shapes,
                   static_cast<float>(options.scale),
                   static_cast<float>(options.softcap),
                   partials.data(),
                   outputs.data()};
  int64_t work = 0;
  for (const Task& task : tasks) work += (task.end - task.begin) * shapes.group * shapes.head_dim;
  const auto num_tasks = static_cast<int64_t>(tasks.size());
  const int64_t grain = work < 20000 ? num_tasks : 1;  // below ~5 us threads cost more than they bring
  at::parallel_for(0, num_tasks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) attend<T>(run, tasks[static_cast<size_t>(t)], t);
  });
  for (size_t first = 0, last; first < tasks.size(); first = last) {
    for (last = first + 1; last < tasks.size() && same_output(tasks[first], tasks[last]); ++last) {
    }
    merge(run, tasks, first, last, out);
  }
}

// Any dtype and device, one sequence at a time.
void through_aten(const at::Tensor& q, const KvPages& pages, const CachedRows& rows,
                  const ops::AttentionOptions& options, const at::Tensor& out) {
  const int64_t group = q.size(1) / pages.num_heads(), visible = rows.end();
  const auto heads_first = [&](const at::Tensor& tokens) {  // [T, K, d] -> [H, T, d]
    return tokens.transpose(0, 1).repeat_interleave(group, 0);
  };
  const at::Tensor k = heads_first(pages.gather_keys(rows.pages, visible)),
                   v = heads_first(pages.gather_values(rows.pages, visible));
  const at::Tensor queries = q.narrow(0, rows.first_row, rows.num_rows).transpose(0, 1);
  at::Tensor scores = at::matmul(queries, k.transpose(1, 2)) * options.scale;
  if (options.softcap > 0) scores = (scores / options.softcap).tanh() * options.softcap;
  const at::Tensor all = at::ones({rows.num_rows, visible}, q.options().dtype(at::kBool));
  at::Tensor hidden = all.triu(rows.length + 1);
  if (options.window > 0) hidden = hidden.logical_or(all.tril(rows.length - options.window));
  scores = scores.masked_fill(hidden, -std::numeric_limits<double>::infinity()).softmax(-1);
  out.narrow(0, rows.first_row, rows.num_rows).copy_(at::matmul(scores, v).transpose(0, 1));
}

}  // namespace

void cached_attention(const at::Tensor& q, const KvPages& pages, const std::vector<CachedRows>& sequences,
                      const ops::AttentionOptions& options, const at::Tensor& out) {
  const Shapes shapes{.num_heads = q.size(1),
                      .num_kv_heads = pages.num_heads(),
                      .group = q.size(1) / pages.num_heads(),
                      .head_dim = q.size(2),
                      .page_tokens = pages.page_tokens(),
                      .steps = wide::num_steps(q.size(2))};
  const bool own = q.is_cpu() && shapes.steps <= kMaxSteps &&
                   (q.scalar_type() == at::kBFloat16 || q.scalar_type() == at::kFloat);
  if (!own) {
    for (const CachedRows& rows : sequences) through_aten(q, pages, rows, options, out);
    return;
  }
  const std::vector<Task> tasks = make_tasks(shapes, sequences, options.window);
  if (q.scalar_type() == at::kBFloat16) {
    run_tasks(q, pages, shapes, tasks, options, out.mutable_data_ptr<at::BFloat16>());
  } else {
    run_tasks(q, pages, shapes, tasks, options, out.mutable_data_ptr<float>());
  }
}

bool attends_as_training(const at::Tensor& q, const std::vector<CachedRows>& sequences,
                         const ops::AttentionOptions& options) {
  return ops::can_attend_last(q) &&
         std::all_of(sequences.begin(), sequences.end(),
                     [&](const CachedRows& rows) { return options.within(rows.end()).is_plain(); });
}

void attend_as_training(const at::Tensor& q, const KvPages& pages, const std::vector<CachedRows>& sequences,
                        const ops::AttentionOptions& options, const at::Tensor& out) {
  if (!attends_as_training(q, sequences, options)) {
    ops::BatchInvariant::refuse(
        "attention has no kernel for this dtype on this machine, for soft-capped scores, or for a window of "
        "the "
        "context");
  }
  std::vector<ops::LastQueries> last;
  for (const CachedRows& rows : sequences) {
    last.push_back({q.narrow(0, rows.first_row, rows.num_rows), out.narrow(0, rows.first_row, rows.num_rows),
                    rows.end(), pages.num_heads(), [&pages, rows](int64_t head, void* keys, void* values) {
                      pages.read_head(rows.pages, rows.end(), head, keys, values);
                    }});
  }
  ops::attend_last(last, options.scale);
}

}  // namespace phalanx::model
