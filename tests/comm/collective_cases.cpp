#include "comm/collective_cases.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <numeric>

#include "comm/traffic.h"

namespace phalanx::comm {
namespace {

constexpr at::ScalarType kDtypes[] = {at::kDouble, at::kFloat, at::kBFloat16, at::kHalf,
                                      at::kLong,   at::kInt,   at::kByte};
constexpr int64_t kSizes[] = {0, 1, 2, 7, 64, 1001};

void expect_equal(const at::Tensor& found, const at::Tensor& expected, const std::string& what) {
  const at::Tensor on_host = found.cpu();
  EXPECT_TRUE(at::equal(on_host, expected)) << what << "\nfound    " << on_host << "\nexpected " << expected;
}

std::string label(at::ScalarType dtype, int64_t numel, int rank) {
  return std::string(c10::toString(dtype)) + " x " + std::to_string(numel) + " on rank " +
         std::to_string(rank);
}

/// Options of a tensor that these ranks can use.
at::TensorOptions on(const Communicator& ranks, at::ScalarType dtype) {
  return at::TensorOptions(dtype).device(ranks.device());
}

/// What `rank` brings, where these ranks can use it.
at::Tensor example_on(const Communicator& ranks, int rank, int64_t numel, at::ScalarType dtype) {
  return example(rank, numel, dtype).to(ranks.device());
}

at::Tensor own_example(const Communicator& ranks, int64_t numel, at::ScalarType dtype) {
  return example_on(ranks, ranks.rank(), numel, dtype);
}

at::Tensor reduce_serially(int num_ranks, int64_t numel, at::ScalarType dtype, ReduceOp op) {
  at::Tensor sum = example(0, numel, dtype);
  for (int r = 1; r < num_ranks; ++r) {
    const at::Tensor next = example(r, numel, dtype);
    sum = op == ReduceOp::kSum   ? sum + next
          : op == ReduceOp::kMax ? at::maximum(sum, next)
                                 : at::minimum(sum, next);
  }
  return sum;
}

void for_all_dtypes_and_sizes(const std::function<void(at::ScalarType, int64_t)>& body) {
  for (const at::ScalarType dtype : kDtypes) {
    for (const int64_t numel : kSizes) body(dtype, numel);
  }
}

void all_reduce_equals_the_serial_result(Communicator& ranks) {
  for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMax, ReduceOp::kMin}) {
    for_all_dtypes_and_sizes([&](at::ScalarType dtype, int64_t numel) {
      const at::Tensor tensor = own_example(ranks, numel, dtype);
      ranks.all_reduce(tensor, op);
      expect_equal(tensor, reduce_serially(ranks.size(), numel, dtype, op),
                   label(dtype, numel, ranks.rank()));
    });
  }
}

void reduce_scatter_equals_the_serial_result(Communicator& ranks) {
  for_all_dtypes_and_sizes([&](at::ScalarType dtype, int64_t numel) {
    const at::Tensor output = at::empty({numel}, on(ranks, dtype));
    ranks.reduce_scatter(output, own_example(ranks, ranks.size() * numel, dtype));
    const at::Tensor whole = reduce_serially(ranks.size(), ranks.size() * numel, dtype, ReduceOp::kSum);
    expect_equal(output, whole.narrow(0, ranks.rank() * numel, numel), label(dtype, numel, ranks.rank()));
  });
}

void all_gather_equals_the_serial_result(Communicator& ranks) {
  for_all_dtypes_and_sizes([&](at::ScalarType dtype, int64_t numel) {
    const at::Tensor output = at::empty({ranks.size() * numel}, on(ranks, dtype));
    ranks.all_gather(output, own_example(ranks, numel, dtype));
    for (int r = 0; r < ranks.size(); ++r) {
      expect_equal(output.narrow(0, r * numel, numel), example(r, numel, dtype),
                   label(dtype, numel, ranks.rank()));
    }
  });
}

void broadcast_equals_the_roots_tensor(Communicator& ranks) {
  for_all_dtypes_and_sizes([&](at::ScalarType dtype, int64_t numel) {
    for (int root = 0; root < ranks.size(); ++root) {
      const at::Tensor tensor = own_example(ranks, numel, dtype);
      ranks.broadcast(tensor, root);
      expect_equal(tensor, example(root, numel, dtype), label(dtype, numel, ranks.rank()));
    }
  });
}

/// Rank i sends (3 i + 5 j) mod 7 elements to rank j, in some pairs none.
int64_t split_size(int from, int to) {
  return (3 * from + 5 * to) % 7;
}

void all_to_all_moves_every_part(Communicator& ranks) {
  for (const at::ScalarType dtype : kDtypes) {
    std::vector<int64_t> to_each, from_each;
    std::vector<at::Tensor> expected;
    for (int r = 0; r < ranks.size(); ++r) {
      to_each.push_back(split_size(ranks.rank(), r));
      from_each.push_back(split_size(r, ranks.rank()));
      int64_t before = 0;
      for (int other = 0; other < ranks.rank(); ++other) before += split_size(r, other);
      expected.push_back(example(r, 64, dtype).narrow(0, before, from_each.back()));
    }
    const int64_t sent = std::accumulate(to_each.begin(), to_each.end(), int64_t{0});
    const at::Tensor output =
        at::empty({std::accumulate(from_each.begin(), from_each.end(), int64_t{0})}, on(ranks, dtype));
    ranks
        .all_to_all_async(output, own_example(ranks, 64, dtype).narrow(0, 0, sent).contiguous(), from_each,
                          to_each)
        ->wait();
    expect_equal(output, at::cat(expected), label(dtype, sent, ranks.rank()));
  }
}

void large_tensors_pass_through_in_pieces(Communicator& ranks) {
  const int64_t numel = 1'500'007;
  const at::Tensor tensor = own_example(ranks, numel, at::kFloat);
  const at::Tensor expected = reduce_serially(ranks.size(), numel, at::kFloat, ReduceOp::kSum);
  ranks.all_reduce(tensor);
  expect_equal(tensor, expected, "all_reduce");

  const at::Tensor gathered = at::empty({ranks.size() * numel}, on(ranks, at::kFloat));
  ranks.all_gather(gathered, own_example(ranks, numel, at::kFloat));
  const at::Tensor part = at::empty({numel}, on(ranks, at::kFloat));
  ranks.reduce_scatter(part, gathered, ReduceOp::kMax);
  expect_equal(part, example(ranks.rank(), numel, at::kFloat), "reduce_scatter of an all_gather");

  const int64_t each = numel / ranks.size();
  const std::vector<int64_t> splits(ranks.size(), each);
  const at::Tensor sent = gathered.narrow(0, ranks.rank() * numel, each * ranks.size()).clone();
  const at::Tensor there = at::empty_like(sent), back = at::empty_like(sent);
  ranks.all_to_all_async(there, sent, splits, splits)->wait();
  ranks.all_to_all_async(back, there, splits, splits)->wait();
  expect_equal(back, sent.cpu(), "all_to_all there and back");

  const at::Tensor copy = own_example(ranks, numel, at::kFloat);
  ranks.broadcast(copy, ranks.size() - 1);
  expect_equal(copy, example(ranks.size() - 1, numel, at::kFloat), "broadcast");
}

/// ((0+1)+(2+3))+4: left halves of a power of two.
at::Tensor tree_sum(const std::vector<at::Tensor>& parts) {
  if (parts.size() == 1) return parts[0];
  size_t left = 1;
  while (left * 2 < parts.size()) left *= 2;
  return tree_sum({parts.begin(), parts.begin() + left}) + tree_sum({parts.begin() + left, parts.end()});
}

at::Tensor random_tensor(int rank, int64_t numel, at::ScalarType dtype) {
  at::Generator generator = at::detail::createCPUGenerator(1000 + rank);
  return at::randn({numel}, generator, at::kFloat).to(dtype);
}

void sums_follow_one_fixed_tree_over_the_ranks(Communicator& ranks) {
  for (const int64_t numel : {5L, 4099L, 300'001L}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
      std::vector<at::Tensor> wide;
      for (int r = 0; r < ranks.size(); ++r) {
        wide.push_back(random_tensor(r, numel, dtype).to(dtype == at::kDouble ? at::kDouble : at::kFloat));
      }
      const at::Tensor expected = tree_sum(wide).to(dtype);  // 16-bit types: fp32 inside, rounded once
      const at::Tensor tensor = random_tensor(ranks.rank(), numel, dtype);
      ranks.all_reduce(tensor);
      EXPECT_TRUE(at::equal(tensor, expected)) << label(dtype, numel, ranks.rank());
    }
  }
}

void nan_survives_max_and_min(Communicator& ranks) {
  for (const ReduceOp op : {ReduceOp::kMax, ReduceOp::kMin}) {
    for (int bad = 0; bad < ranks.size(); ++bad) {
      const double mine = ranks.rank() == bad ? std::numeric_limits<double>::quiet_NaN() : ranks.rank();
      EXPECT_TRUE(std::isnan(ranks.all_reduce_scalar(mine, op)));
    }
  }
}

void async_calls_finish_in_any_order_of_waiting(Communicator& ranks) {
  const int64_t numel = 20'000;
  std::vector<at::Tensor> tensors;
  std::vector<std::unique_ptr<Work>> works;
  for (int i = 0; i < 8; ++i) {
    tensors.push_back(example_on(ranks, ranks.rank() + i, numel, at::kFloat));
    works.push_back(ranks.all_reduce_async(tensors.back(), ReduceOp::kMax));
  }
  for (int i = 7; i >= 0; --i) {
    const int slot = (i + 3 * ranks.rank()) % 8;  // each rank waits in an order of its own
    works[slot]->wait();
    works[slot]->wait();  // a second wait is allowed
    at::Tensor expected = example(slot, numel, at::kFloat);
    for (int r = 1; r < ranks.size(); ++r)
      expected = at::maximum(expected, example(slot + r, numel, at::kFloat));
    expect_equal(tensors[slot], expected, "call " + std::to_string(slot));
  }
}

void async_calls_see_each_others_results_in_order(Communicator& ranks) {
  const at::Tensor tensor = at::ones({1000}, on(ranks, at::kDouble));
  std::vector<std::unique_ptr<Work>> works;
  for (int i = 0; i < 5; ++i) works.push_back(ranks.all_reduce_async(tensor, ReduceOp::kSum));
  works.back()->wait();
  expect_equal(tensor, at::full({1000}, std::pow(ranks.size(), 5.0), at::kDouble), "five sums in a row");
}

void async_calls_of_two_groups_do_not_wait_for_each_other(Communicator& ranks) {
  const std::unique_ptr<Communicator> other = ranks.split(0, 0);
  const at::Tensor tensor = at::ones({100}, on(ranks, at::kDouble));
  const std::unique_ptr<Work> work = ranks.all_reduce_async(tensor, ReduceOp::kSum);
  if (ranks.rank() == 0)
    work->wait();  // rank 0 finishes the first group before it comes to the second, the others after
  other->barrier();
  work->wait();
  expect_equal(tensor, at::full({100}, double(ranks.size()), at::kDouble), "sum");
}

void messages_arrive_by_sender_and_tag_in_order(Communicator& ranks) {
  const int to = (ranks.rank() + 1) % ranks.size();
  const int from = (ranks.rank() + ranks.size() - 1) % ranks.size();
  std::vector<std::unique_ptr<Work>> works;
  std::vector<at::Tensor> received;
  for (int i = 0; i < 4; ++i) {
    received.push_back(at::empty({100 + i / 2}, on(ranks, at::kInt)));
    works.push_back(ranks.recv_async(received.back(), from, /*tag=*/i / 2));
  }
  for (const int i : {2, 0, 3, 1}) {  // of each tag in order, the tags mixed
    works.push_back(
        ranks.send_async(example_on(ranks, ranks.rank() + 10 * i, 100 + i / 2, at::kInt), to, /*tag=*/i / 2));
  }
  for (auto& work : works) work->wait();
  for (int i = 0; i < 4; ++i)
    expect_equal(received[i], example(from + 10 * i, 100 + i / 2, at::kInt), "message");
}

void large_messages_cross_without_deadlock(Communicator& ranks) {
  const int64_t numel = 2'000'000;
  const int to = (ranks.rank() + 1) % ranks.size();
  const int from = (ranks.rank() + ranks.size() - 1) % ranks.size();
  const at::Tensor received = at::empty({numel}, on(ranks, at::kFloat));
  const std::unique_ptr<Work> sending = ranks.send_async(own_example(ranks, numel, at::kFloat), to, 3);
  const std::unique_ptr<Work> receiving = ranks.recv_async(received, from, 3);
  sending->wait();
  receiving->wait();
  expect_equal(received, example(from, numel, at::kFloat), "message");
}

void collectives_run_beside_pending_messages(Communicator& ranks) {
  const int to = (ranks.rank() + 1) % ranks.size();
  const int from = (ranks.rank() + ranks.size() - 1) % ranks.size();
  const at::Tensor received = at::empty({10}, on(ranks, at::kLong));
  const std::unique_ptr<Work> receiving = ranks.recv_async(received, from, 0);
  ranks.barrier();
  EXPECT_EQ(ranks.all_reduce_scalar(int64_t{1}), ranks.size());
  ranks.send(own_example(ranks, 10, at::kLong), to);
  receiving->wait();
  expect_equal(received, example(from, 10, at::kLong), "message");
}

void scalars_and_strings_travel(Communicator& ranks) {
  EXPECT_EQ(ranks.all_reduce_scalar(int64_t{ranks.rank()}, ReduceOp::kMax), ranks.size() - 1);
  EXPECT_DOUBLE_EQ(ranks.all_reduce_scalar(0.5), 0.5 * ranks.size());
  for (int root = 0; root < ranks.size(); ++root) {
    const std::string text = "from " + std::to_string(root) + std::string(root * 10, '.');
    EXPECT_EQ(ranks.broadcast_string(ranks.rank() == root ? text : "ignored", root), text);
  }
  EXPECT_EQ(ranks.broadcast_string("", 0), "");
  const std::vector<std::string> all = ranks.all_gather_strings(std::string(ranks.rank(), 'x'));
  ASSERT_EQ(static_cast<int>(all.size()), ranks.size());
  for (int r = 0; r < ranks.size(); ++r) EXPECT_EQ(all[r], std::string(r, 'x'));
  EXPECT_EQ(ranks.all_gather_strings("").size(), all.size());
}

void split_makes_groups_by_color_and_key(Communicator& ranks) {
  const int color = ranks.rank() % 2;
  const std::unique_ptr<Communicator> part = ranks.split(color, /*key=*/-ranks.rank());  // highest rank first
  const int members = (ranks.size() + 1 - color) / 2;
  EXPECT_EQ(part->size(), members);
  EXPECT_EQ(part->rank(), members - 1 - ranks.rank() / 2);
  int64_t expected = 0;
  for (int r = color; r < ranks.size(); r += 2) expected += r;
  EXPECT_EQ(part->all_reduce_scalar(int64_t{ranks.rank()}), expected);

  const std::unique_ptr<Communicator> alone = part->split(part->rank(), 0);
  EXPECT_EQ(alone->size(), 1);
  EXPECT_EQ(alone->all_reduce_scalar(int64_t{7}), 7);
  EXPECT_EQ(ranks.split(5, 0)->split(1, 0)->size(), ranks.size());
}

void traffic_equals_the_ring_formulas(Communicator& ranks) {
  const int64_t n = ranks.size();
  const at::Tensor small = at::zeros({60}, on(ranks, at::kFloat)),
                   large = at::zeros({60 * n}, on(ranks, at::kFloat));
  ranks.reset_traffic();
  ranks.all_reduce(small);
  ranks.all_reduce(small);
  ranks.reduce_scatter(small, large);
  ranks.all_gather(large, small);
  ranks.broadcast(small);
  const std::vector<int64_t> splits(n, 60);
  ranks.all_to_all_async(large, large.clone(), splits, splits)->wait();
  const int peer = (ranks.rank() + 1) % ranks.size();
  const auto sent = ranks.send_async(small, peer, 0);
  ranks.recv(small.clone(), (ranks.rank() + ranks.size() - 1) % ranks.size());
  sent->wait();

  const auto counted = ranks.traffic().by_collective;
  const int64_t bytes = 60 * 4;
  EXPECT_EQ(counted.at("all_reduce").calls, 2);
  EXPECT_EQ(counted.at("all_reduce").bytes, 2 * (2 * bytes * (n - 1) / n));
  EXPECT_EQ(counted.at("reduce_scatter").bytes, bytes * (n - 1));
  EXPECT_EQ(counted.at("all_gather").bytes, bytes * (n - 1));
  EXPECT_EQ(counted.at("broadcast").bytes, bytes * (n - 1) / n);
  EXPECT_EQ(counted.at("all_to_all").bytes, bytes * (n - 1));
  EXPECT_EQ(counted.at("send").bytes, n == 1 ? 0 : bytes);
  EXPECT_EQ(counted.at("recv").bytes, 0);
  int64_t total = 0;
  for (const auto& [name, entry] : counted) total += entry.bytes;
  EXPECT_EQ(ranks.traffic().total_bytes(), total);
  ranks.reset_traffic();
  EXPECT_EQ(ranks.traffic().total_bytes(), 0);
}

void bad_arguments_are_refused_before_anything_is_sent(Communicator& ranks) {
  const at::Tensor good = at::zeros({4}, on(ranks, at::kFloat));
  EXPECT_THROW(ranks.all_reduce(at::zeros({4, 4}, on(ranks, at::kFloat)).t()), c10::Error);
  EXPECT_THROW(ranks.all_reduce(at::zeros({4}, on(ranks, at::kComplexFloat))), c10::Error);
  EXPECT_THROW(ranks.all_reduce(at::Tensor()), c10::Error);
  EXPECT_THROW(ranks.broadcast(good, ranks.size()), c10::Error);
  EXPECT_THROW(ranks.send(good, -1), c10::Error);
  EXPECT_THROW(ranks.all_gather(at::zeros({4 * ranks.size() + 1}, on(ranks, at::kFloat)), good), c10::Error);
  EXPECT_THROW(ranks.reduce_scatter(good, at::zeros({4 * ranks.size()}, on(ranks, at::kDouble))), c10::Error);
  EXPECT_THROW(ranks.all_to_all_async(good, good, {4}, std::vector<int64_t>(ranks.size() + 1)), c10::Error);
  ranks.all_reduce(good);  // the group still works
}

}  // namespace

at::Tensor example(int rank, int64_t numel, at::ScalarType dtype) {
  return at::arange(numel, at::kLong).mul(7 + 2 * rank).add(3 * rank).remainder(11).add(1).to(dtype);
}

const std::vector<CollectiveCase>& collective_cases() {
#define PHALANX_CASE(function) \
  { #function, function, false }
  static const std::vector<CollectiveCase> cases = {
      PHALANX_CASE(all_reduce_equals_the_serial_result),
      PHALANX_CASE(reduce_scatter_equals_the_serial_result),
      PHALANX_CASE(all_gather_equals_the_serial_result),
      PHALANX_CASE(broadcast_equals_the_roots_tensor),
      PHALANX_CASE(all_to_all_moves_every_part),
      PHALANX_CASE(large_tensors_pass_through_in_pieces),
      {"sums_follow_one_fixed_tree_over_the_ranks", sums_follow_one_fixed_tree_over_the_ranks,
       /*host_only=*/true},
      PHALANX_CASE(nan_survives_max_and_min),
      PHALANX_CASE(async_calls_finish_in_any_order_of_waiting),
      PHALANX_CASE(async_calls_see_each_others_results_in_order),
      PHALANX_CASE(async_calls_of_two_groups_do_not_wait_for_each_other),
      PHALANX_CASE(messages_arrive_by_sender_and_tag_in_order),
      PHALANX_CASE(large_messages_cross_without_deadlock),
      PHALANX_CASE(collectives_run_beside_pending_messages),
      PHALANX_CASE(scalars_and_strings_travel),
      PHALANX_CASE(split_makes_groups_by_color_and_key),
      PHALANX_CASE(traffic_equals_the_ring_formulas),
      PHALANX_CASE(bad_arguments_are_refused_before_anything_is_sent),
  };
#undef PHALANX_CASE
  return cases;
}

}  // namespace phalanx::comm
