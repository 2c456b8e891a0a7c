#pragma once
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "label/answer_pair.h"
#include "label/label_store.h"
#include "label/question_order.h"
#include "serve/access.h"

namespace phalanx::label {

/// What `phalanx label` answers over HTTP. Paths are looked up whole in a table; the page is in the program.
///
///     GET  /  /agreement               the page
///     GET  /api/state?labeller=NAME    the next question, progress
///     POST /api/answer {"labeller", "pair", "choice": left|right|tie|both_bad|skip, "seconds", "edit"?}
///     POST /api/undo   {"labeller", "pair"}: that answer is taken back; the pair is the next question again
///     GET  /api/agreement              agreement.h as JSON
///     POST /api/finish {"labeller"}    with a goal: labelling ends before it is reached
///
/// The POSTs answer with the new state once the disk has it. Which of the answers came first in the data is
/// told to nobody.
class LabelService {
 public:
  /// @param goal  labelling is over when so many preferences stand, of all labellers and about these pairs.
  LabelService(std::vector<AnswerPair> pairs, OrderOptions order, LabelStore& store, serve::Access access,
               std::optional<int64_t> goal = std::nullopt);
  /// Is the goal reached, or did somebody say that this is enough?
  bool is_finished() const { return is_finished_; }
  int64_t num_preferences() const;
  /// @throws serve::HttpError; core::Error (74). May be called from several threads.
  serve::Response handle(const serve::Request& request);

 private:
  using Route = serve::Response (LabelService::*)(const serve::Request&);
  serve::Response page(const serve::Request& request);
  serve::Response state(const serve::Request& request);
  serve::Response answer(const serve::Request& request);
  serve::Response undo(const serve::Request& request);
  serve::Response agreement(const serve::Request& request);
  serve::Response finish(const serve::Request& request);

  core::Json state_of(const std::string& labeller);
  core::Json question(const AnswerPair& pair, const std::string& labeller) const;
  const std::vector<size_t>& order_of(const std::string& labeller);
  const AnswerPair& find_pair(const core::Json& body) const;

  std::vector<AnswerPair> pairs_;
  OrderOptions order_;
  LabelStore& store_;
  serve::Access access_;
  std::optional<int64_t> goal_;
  std::atomic<bool> is_finished_{false};
  std::map<std::string, size_t> place_of_;  // id -> index
  std::mutex orders_mutex_;
  std::map<std::string, std::vector<size_t>> orders_;  // by labeller
};

}  // namespace phalanx::label
