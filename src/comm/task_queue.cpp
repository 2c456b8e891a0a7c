#include "comm/task_queue.h"

namespace phalanx::comm {

struct QueuedTask {
  std::function<void()> run;
  bool done = false;
  std::exception_ptr error;
};

struct TaskQueue::State {
  mutable std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::shared_ptr<QueuedTask>> waiting;
  bool running = false;
  bool stopping = false;
  std::exception_ptr broken;  // what the first failing task threw

  bool can_run() const { return !running && !waiting.empty(); }

  /// Runs the first waiting task, with the lock released meanwhile.
  void run_next(std::unique_lock<std::mutex>& lock) {
    const std::shared_ptr<QueuedTask> task = std::move(waiting.front());
    waiting.pop_front();
    running = true;
    std::exception_ptr error = broken;
    lock.unlock();
    try {
      if (!error) task->run();
    } catch (...) {
      error = std::current_exception();
    }
    task->run = nullptr;  // lets go of the tensors
    lock.lock();
    if (error && !broken) broken = error;
    task->error = error;
    task->done = true;
    running = false;
    changed.notify_all();
  }

  void work() {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [this] { return stopping || can_run(); });
      if (stopping) return;
      run_next(lock);
    }
  }

  void wait(const QueuedTask& task) {
    std::unique_lock lock(mutex);
    while (!task.done) {
      changed.wait(lock, [&] { return task.done || stopping || can_run(); });
      if (task.done) break;
      if (stopping)
        core::fail(core::ExitCode::kBug, "a collective was dropped because its communicator was destroyed");
      run_next(lock);
    }
    if (task.error) std::rethrow_exception(task.error);
  }
};

namespace {

template <typename State>
class TaskWork : public Work {
 public:
  TaskWork(std::shared_ptr<State> state, std::shared_ptr<QueuedTask> task)
      : state_(std::move(state)), task_(std::move(task)) {}
  void wait() override { state_->wait(*task_); }

 private:
  std::shared_ptr<State> state_;
  std::shared_ptr<QueuedTask> task_;
};

}  // namespace

TaskQueue::TaskQueue() : state_(std::make_shared<State>()) {}

TaskQueue::~TaskQueue() {
  {
    std::unique_lock lock(state_->mutex);
    state_->stopping = true;
    state_->changed.notify_all();
    state_->changed.wait(lock, [this] { return !state_->running; });
    state_->waiting.clear();
  }
  if (worker_.joinable()) worker_.join();
}

std::unique_ptr<Work> TaskQueue::push(std::function<void()> run) {
  auto task = std::make_shared<QueuedTask>();
  task->run = std::move(run);
  {
    const std::lock_guard lock(state_->mutex);
    state_->waiting.push_back(task);
  }
  state_->changed.notify_all();
  if (!worker_.joinable()) worker_ = std::thread([state = state_] { state->work(); });
  return std::make_unique<TaskWork<State>>(state_, std::move(task));
}

bool TaskQueue::idle() const {
  const std::lock_guard lock(state_->mutex);
  return !state_->running && state_->waiting.empty();
}

}  // namespace phalanx::comm
