#pragma once
#include <hdf5.h>

#include <exception>
#include <filesystem>
#include <string>
#include <utility>

#include "core/dtype.h"
#include "formats/tensor_spec.h"

/// Shared by hdf5*.cpp: handles, element types and errors. Nothing else includes <hdf5.h>.
namespace phalanx::formats::hdf5 {

/// Must come before any other call: no exit handler, no messages on stderr, no plugins.
void prepare_library();

/// The innermost message of the library's error stack; the operating system's where it has one. Clears the
/// stack.
std::string last_error();

/// Closes its identifier, unless an exception is under way: then it is abandoned.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle(hid_t id, Close close) : id_(id), close_(close) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&&) = delete;
  ~Handle() {
    if (id_ >= 0 && std::uncaught_exceptions() == exceptions_) close_(id_);
  }
  hid_t get() const { return id_; }
  hid_t release() { return std::exchange(id_, -1); }

 private:
  hid_t id_;
  Close close_;
  int exceptions_ = std::uncaught_exceptions();
};

Handle element_type(core::DType dtype);
Handle dataspace(const std::vector<int64_t>& shape);  ///< scalar if empty

/// New file for writing in the format of 1.10, without file locks.
Handle create_file(const std::filesystem::path& path);

void write_text_attribute(hid_t object, const std::string& name, const std::string& value,
                          const std::filesystem::path& path);

/// Throws core::Error kStorage "PATH: dataset NAME: WHAT: REASON" if `result` is negative; returns it
/// otherwise.
template <typename T>
T checked(T result, const std::filesystem::path& path, const std::string& dataset, const char* what);

[[noreturn]] void fail_storage(const std::filesystem::path& path, const std::string& dataset,
                               const char* what);

template <typename T>
T checked(T result, const std::filesystem::path& path, const std::string& dataset, const char* what) {
  if (result < 0) fail_storage(path, dataset, what);
  return result;
}

}  // namespace phalanx::formats::hdf5
