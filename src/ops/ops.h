#pragma once
/// Fused, differentiable tensor operations, one header each. Every tensor is 2-D or 3-D over a flat token
/// axis N (no padding; see data/batch.h). Compute dtypes: fp64, fp32, bf16 (sums inside an operation in fp32,
/// fp64 for fp64). None talks to another rank. Each has its own backward; what is saved for it is stated.
#include "ops/activation.h"
#include "ops/adamw.h"
#include "ops/attention.h"
#include "ops/cross_entropy.h"
#include "ops/embedding.h"
#include "ops/expert_order.h"
#include "ops/grad_sink.h"
#include "ops/grouped_linear.h"
#include "ops/linear.h"
#include "ops/moe_router.h"
#include "ops/norm.h"
#include "ops/rope.h"
#include "ops/split_weights.h"
#include "ops/swiglu.h"
