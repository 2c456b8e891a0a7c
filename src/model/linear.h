#pragma once
#include <ATen/core/Tensor.h>

#include <functional>

#include "model/module.h"

namespace phalanx::model {

/// y = x W^T (+ b), x [N, in] -> y [N, out]. How the product is made can be replaced from outside: adapters
/// and parallel schemes install a Product that uses `weight` and `bias`, and the layers that own a Linear
/// never know.
class Linear : public Module {
 public:
  using Product = std::function<at::Tensor(const Linear& linear, const at::Tensor& x)>;

  Linear(int64_t in_features, int64_t out_features, bool has_bias);

  at::Tensor forward(const at::Tensor& x) const { return product_ ? product_(*this, x) : base(x); }
  /// The plain product, whatever is installed.
  at::Tensor base(const at::Tensor& x) const;

  const Product& product() const { return product_; }  ///< what is installed
  void set_product(Product product) { product_ = std::move(product); }
  void reset_product() { product_ = {}; }
  /// Nothing is installed: whoever holds several Linears may then make their products in one operation.
  bool is_plain() const { return !product_; }

  /// From what is known of the input features here to what is known of all: where a scheme gives each rank
  /// some columns of `weight`, it adds up the ranks' parts. Without one, the columns here are all.
  using InputSum = std::function<at::Tensor(const at::Tensor& part)>;
  at::Tensor sum_over_inputs(const at::Tensor& part) const { return input_sum_ ? input_sum_(part) : part; }
  void set_input_sum(InputSum sum) { input_sum_ = std::move(sum); }

  at::Tensor weight;  // [out, in]
  at::Tensor bias;    // [out] or undefined

 private:
  Product product_;  // empty: base()
  InputSum input_sum_;
};

}  // namespace phalanx::model
