#pragma once
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "comm/communicator.h"

namespace phalanx::comm {

/// Runs blocking tasks one at a time, in the order of push(). A worker thread (started by the first push)
/// takes them, and so does a thread in Work::wait(), so that a call that is waited for at once costs no
/// change of thread. After a task has thrown, all later ones throw the same.
class TaskQueue {
 public:
  TaskQueue();
  ~TaskQueue();  ///< joins the worker; tasks not begun are dropped, a running one is waited for
  TaskQueue(const TaskQueue&) = delete;
  TaskQueue& operator=(const TaskQueue&) = delete;

  std::unique_ptr<Work> push(std::function<void()> task);
  bool idle() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
  std::thread worker_;
};

}  // namespace phalanx::comm
