"""Losses over judged answers as TRL computes them, with gradients, on random log-probabilities.

TRL's own _compute_loss and loss functions run here, on stand-ins for models that give those log-probabilities. Made with
trl 1.16.0, torch 2.11.0. usage: make_preference_golden.py OUT.safetensors
"""
import contextlib
import sys
from collections import defaultdict
from types import SimpleNamespace

import torch
from safetensors.torch import save_file

from trl.experimental.cpo.cpo_trainer import CPOTrainer
from trl.experimental.orpo.orpo_trainer import ORPOTrainer
from trl.trainer import dpo_trainer, kto_trainer
from trl.trainer.reward_trainer import RewardTrainer

PAIRS, LENGTH = 6, 9
generator = torch.Generator().manual_seed(3)
random = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
out = {}

for module in (dpo_trainer, kto_trainer):
    module.disable_gradient_checkpointing = lambda *a, **k: contextlib.nullcontext()
accelerator = SimpleNamespace(device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x,
                              unwrap_model=lambda x: x)

# Completions of 1 to LENGTH - 1 tokens behind a prompt of one; sums of log-probabilities spread evenly over them.
lengths = torch.randint(1, LENGTH, (2 * PAIRS,), generator=generator)
mask = torch.zeros(2 * PAIRS, LENGTH, dtype=torch.long)
for row, length in enumerate(lengths):
    mask[row, 1:1 + length] = 1
policy, reference = -20 + 6 * random(2 * PAIRS), -20 + 6 * random(2 * PAIRS)
out["policy"], out["reference"], out["num_tokens"] = policy, reference, lengths.double()


def tokens(sums):
    return sums[:, None] * mask[:, 1:] / lengths[:, None]


def outputs(logprobs):
    zeros = torch.zeros_like(logprobs)
    return SimpleNamespace(log_probs=logprobs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())


def keep(name, leaf, loss):
    loss.backward()
    out[name + "/loss"], out[name + "/grad"] = loss.detach().double().reshape(1), leaf.grad.double()


def dpo(name, loss_type, divergence="reverse_kl", smoothing=0.0, dtype=torch.float64, alpha=0.5):
    leaf = policy.clone().requires_grad_()
    t = dpo_trainer.DPOTrainer.__new__(dpo_trainer.DPOTrainer)
    t.model, t.accelerator = torch.nn.Module(), accelerator
    t.args = SimpleNamespace(gradient_checkpointing_kwargs=None, discopop_tau=0.05)
    t.beta, t.label_smoothing, t.loss_types, t.loss_weights = 0.1, smoothing, [loss_type], [1.0]
    t.f_divergence_type, t.f_alpha_divergence_coef, t.ld_alpha, t.use_weighting = divergence, alpha, None, False
    t.aux_loss_enabled, t.precompute_ref_logps, t._tp_size, t._total_train_tokens = False, False, 1, 0
    t._metrics = {"train": defaultdict(list)}
    t.ref_model = lambda **kw: outputs(tokens(reference).to(dtype))
    ids = torch.zeros_like(mask)
    loss = t._compute_loss(lambda **kw: outputs(tokens(leaf).to(dtype)),
                           {"input_ids": ids, "attention_mask": mask, "completion_mask": mask}, False)
    keep(name, leaf, loss)


def ipo_mask_counts_every_token():
    """`ipo` and `sigmoid_norm` count completion_mask, which has the first column: the prompt is not in it."""
    assert (mask.sum(1) == lengths).all()


ipo_mask_counts_every_token()
SMOOTHING = {"exo_pair": 1e-3, "robust": 0.1, "aot": 0.1, "aot_unpaired": 0.1}
for loss_type in ("sigmoid hinge ipo exo_pair nca_pair robust bco_pair sppo_hard aot aot_unpaired apo_zero apo_down "
                  "discopop sigmoid_norm").split():
    dpo(f"dpo/{loss_type}", loss_type, smoothing=SMOOTHING.get(loss_type, 0.0))
for divergence in ("forward_kl", "js_divergence"):
    for loss_type in ("sigmoid", "ipo"):
        dpo(f"dpo/{loss_type}/{divergence}", loss_type, divergence)
dpo("dpo/sigmoid/alpha_divergence", "sigmoid", "alpha_divergence", dtype=torch.float32)


def pairs(leaf):
    return leaf[:PAIRS], leaf[PAIRS:]


mean_policy = policy / lengths
for loss_type, smoothing, alpha in (("sigmoid", 0.0, 0.0), ("sigmoid", 0.1, 0.0), ("hinge", 0.0, 0.0), ("ipo", 0.0, 0.0),
                                    ("simpo", 0.0, 0.0), ("simpo", 0.1, 0.25)):
    t = CPOTrainer.__new__(CPOTrainer)
    t.accelerator, t.beta, t.label_smoothing, t.loss_type, t.alpha, t.simpo_gamma = accelerator, 0.1, smoothing, loss_type, alpha, 0.5
    leaf = (mean_policy if loss_type in ("ipo", "simpo") else policy).clone().requires_grad_()
    keep(f"cpo/{loss_type}/{smoothing}/{alpha}", leaf, t.cpo_loss(*pairs(leaf))[0].mean())

t = ORPOTrainer.__new__(ORPOTrainer)
t.accelerator, t.beta = accelerator, 0.1
leaf = mean_policy.clone().requires_grad_()  # odds_ratio_loss() works in fp32
keep("orpo", leaf, -t.odds_ratio_loss(*pairs(leaf))[0].mean())

desirable = torch.tensor([True, False, True] * (2 * PAIRS // 3))
kl_policy = -20 + 3 * random(2 * PAIRS)
kl_reference = kl_policy - 1.5 + random(2 * PAIRS)
out["desirable"], out["kl"] = desirable.double(), (kl_policy - kl_reference).mean().clamp(min=0).reshape(1)
for loss_type in ("kto", "apo_zero_unpaired"):
    leaf = policy.clone().requires_grad_()
    t = kto_trainer.KTOTrainer.__new__(kto_trainer.KTOTrainer)
    t.model, t.accelerator = torch.nn.Module(), accelerator
    t.args = SimpleNamespace(gradient_checkpointing_kwargs=None)
    t.beta, t.loss_type, t.desirable_weight, t.undesirable_weight = 0.1, loss_type, 1.5, 0.75
    t.calculate_KL, t.precompute_ref_logps, t.aux_loss_enabled = loss_type == "kto", False, False
    t._tp_size, t._total_train_tokens, t._metrics = 1, 0, {"train": defaultdict(list)}
    ids, kl_ids = torch.zeros_like(mask), torch.ones_like(mask)
    model_of = lambda own, kl: lambda **kw: outputs(tokens(kl if kw["input_ids"][0, 0] == 1 else own))
    t.ref_model = model_of(reference, kl_reference)
    keep(f"kto/{loss_type}", leaf, t._compute_loss(model_of(leaf, kl_policy), {
        "input_ids": ids, "attention_mask": mask, "completion_mask": mask, "KL_input_ids": kl_ids, "KL_attention_mask": mask,
        "KL_completion_mask": mask, "label": desirable}, False))

rewards, margin = random(2 * PAIRS), random(PAIRS).abs()
out["rewards"], out["margin"] = rewards, margin
leaf = rewards.clone().requires_grad_()
t = RewardTrainer.__new__(RewardTrainer)
t.model, t.accelerator = torch.nn.Module(), accelerator
t.args, t._tp_size, t._total_train_tokens, t._metrics = SimpleNamespace(center_rewards_coefficient=0.01), 1, 0, {"train": defaultdict(list)}


def reward_model(attention_mask, use_cache, margin):
    return SimpleNamespace(logits=leaf[:, None])


keep("reward", leaf, t.compute_loss(reward_model, {"attention_mask": mask, "margin": margin}))

save_file({name: tensor.contiguous() for name, tensor in out.items()}, sys.argv[1])
print(f"{len(out)} tensors")
