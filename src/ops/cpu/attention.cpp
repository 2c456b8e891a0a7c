#include "ops/cpu/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <functional>

#include "ops/cpu/attention_kernels.h"
#include "ops/cpu/isa.h"
#include "ops/cpu/workspace.h"

namespace phalanx::ops::cpu {
namespace {

constexpr int64_t kQueryChunk = 256;  // queries of one forward job; keys are packed again for each

struct Job {
  int64_t begin, tokens, kv_head, first, last;
};

// Longest first, so that the last jobs to be picked are short.
void run(std::vector<Job> jobs, const std::function<void(const Job&)>& work) {
  std::stable_sort(jobs.begin(), jobs.end(), [](const Job& a, const Job& b) { return a.last > b.last; });
  std::atomic<size_t> next{0};
  at::parallel_for(0, at::get_num_threads(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker)
      for (size_t i = next++; i < jobs.size(); i = next++) work(jobs[i]);
  });
}

std::vector<Job> make_jobs(const std::vector<int64_t>& cu, int64_t kv_heads, int64_t chunk) {
  std::vector<Job> jobs;
  for (size_t s = 0; s + 1 < cu.size(); ++s) {
    const int64_t tokens = cu[s + 1] - cu[s];
    for (int64_t head = 0; head < kv_heads; ++head)
      for (int64_t first = 0; first < tokens; first += chunk)
        jobs.push_back({cu[s], tokens, head, first, std::min(first + chunk, tokens)});
  }
  return jobs;
}

avx512::AttentionKind kind_of(const at::Tensor& q) {
  if (q.scalar_type() == at::kFloat) return avx512::AttentionKind::kF32;
  return isa().fast_bf16_dot() ? avx512::AttentionKind::kBF16 : avx512::AttentionKind::kBF16Widened;
}

char* address(const at::Tensor& t, int64_t token, int64_t head) {
  return static_cast<char*>(t.data_ptr()) + (token * t.stride(0) + head * t.stride(1)) * t.element_size();
}

}  // namespace

bool can_attend(const at::Tensor& q) {
  return q.device().is_cpu() && (q.scalar_type() == at::kFloat || q.scalar_type() == at::kBFloat16) &&
         isa().avx512_bf16;
}

void attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
            const std::vector<int64_t>& cu_seqlens, double scale, const at::Tensor& out,
            const at::Tensor& lse) {
  const int group = static_cast<int>(q.size(1) / k.size(1)), dim = static_cast<int>(q.size(2));
  const avx512::AttentionKind kind = kind_of(q);
  run(make_jobs(cu_seqlens, k.size(1), kQueryChunk), [&](const Job& job) {
    const int64_t head = job.kv_head * group;
    const avx512::AttentionForward task{address(q, job.begin, head),
                                        address(k, job.begin, job.kv_head),
                                        address(v, job.begin, job.kv_head),
                                        address(out, job.begin, head),
                                        lse.data_ptr<float>() + head * lse.stride(0) + job.begin,
                                        q.stride(0),
                                        k.stride(0),
                                        out.stride(0),
                                        lse.stride(0),
                                        job.tokens,
                                        job.first,
                                        job.last,
                                        group,
                                        dim,
                                        static_cast<float>(scale)};
    avx512::attention_forward(kind, task,
                              scratch(Scratch::kAttention, avx512::forward_scratch_bytes(job.last, dim)));
  });
}

void attend_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const at::Tensor& out, const at::Tensor& lse, const std::vector<int64_t>& cu_seqlens,
                     double scale, const at::Tensor& dq, const at::Tensor& dk, const at::Tensor& dv) {
  const int group = static_cast<int>(q.size(1) / k.size(1)), dim = static_cast<int>(q.size(2));
  const avx512::AttentionKind kind = kind_of(q);
  run(make_jobs(cu_seqlens, k.size(1), int64_t{1} << 40), [&](const Job& job) {
    const int64_t head = job.kv_head * group;
    const avx512::AttentionBackward task{address(q, job.begin, head),
                                         address(k, job.begin, job.kv_head),
                                         address(v, job.begin, job.kv_head),
                                         address(out, job.begin, head),
                                         address(dout, job.begin, head),
                                         lse.data_ptr<float>() + head * lse.stride(0) + job.begin,
                                         address(dq, job.begin, head),
                                         address(dk, job.begin, job.kv_head),
                                         address(dv, job.begin, job.kv_head),
                                         q.stride(0),
                                         k.stride(0),
                                         lse.stride(0),
                                         job.tokens,
                                         group,
                                         dim,
                                         static_cast<float>(scale)};
    avx512::attention_backward(kind, task,
                               scratch(Scratch::kAttention, avx512::backward_scratch_bytes(job.tokens, dim)));
  });
}

}  // namespace phalanx::ops::cpu
