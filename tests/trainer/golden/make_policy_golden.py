"""Writes the golden file of tests/trainer/policy_losses_test.cpp: what TRL's GRPOTrainer and RLOOTrainer make of random
log-probabilities and advantages (loss and gradient, fp64), called on stand-ins that give them these numbers in place of
a model's.

    python tests/trainer/golden/make_policy_golden.py      (torch 2.11, trl 1.16)
"""
import json
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import torch
from trl.trainer.grpo_trainer import GRPOTrainer, nanstd
from trl.trainer.rloo_trainer import RLOOTrainer

torch.manual_seed(3)
torch.set_default_dtype(torch.float64)
LENGTHS = [5, 1, 7, 3, 4, 2]
WIDTH, MAX_LENGTH = max(LENGTHS), 9


def rows(padded):
    """Counted entries, sample by sample."""
    return [padded[i, t].item() for i, n in enumerate(LENGTHS) for t in range(n)]


class Accelerator:
    num_processes, sync_gradients = 1, True

    def gather(self, x):
        return x

    gather_for_metrics = gather

    def reduce(self, x, reduction="sum"):
        return x


mask = torch.zeros(len(LENGTHS), WIDTH)
for i, n in enumerate(LENGTHS):
    mask[i, :n] = 1
old = -torch.rand(len(LENGTHS), WIDTH) * 3
logps = (old + 0.3 * torch.randn_like(old)).clamp(max=-1e-3)
ref = (logps + 0.3 * torch.randn_like(old)).clamp(max=-1e-3)
advantages = torch.randn(len(LENGTHS))


def trainer(leaf, options):
    accelerator = Accelerator()
    return SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *a, **k: (leaf, torch.zeros_like(leaf), None),
        aux_loss_enabled=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None,
        importance_sampling_level=options["importance_sampling_level"], beta=options["beta"],
        args=SimpleNamespace(delta=options["delta"], use_bias_correction_kl=options["use_bias_correction_kl"],
                             sapo_temperature_pos=1.0, sapo_temperature_neg=1.05, steps_per_generation=1),
        loss_type=options["loss_type"], epsilon_low=0.2, epsilon_high=options["epsilon_high"], use_vllm=False,
        vllm_importance_sampling_correction=False, max_completion_length=MAX_LENGTH,
        current_gradient_accumulation_steps=1, accelerator=accelerator, _entropy_bonus_enabled=False,
        _metrics=defaultdict(lambda: defaultdict(list)), model=SimpleNamespace(training=True), entropy_coef=0.0)


def case(options):
    leaf = logps.clone().requires_grad_()
    stand_in = trainer(leaf, options)
    inputs = dict(prompt_ids=torch.zeros(len(LENGTHS), 1, dtype=torch.long),
                  prompt_mask=torch.ones(len(LENGTHS), 1, dtype=torch.long),
                  completion_ids=torch.zeros(len(LENGTHS), WIDTH, dtype=torch.long), completion_mask=mask,
                  advantages=advantages, old_per_token_logps=old, ref_per_token_logps=ref,
                  old_logps=(old * mask).sum(1), num_items_in_batch=mask.sum())
    kind = RLOOTrainer if options["loss_type"] == "rloo" else GRPOTrainer
    loss = kind._compute_loss(stand_in, None, inputs)
    loss.backward()
    metrics = {name: values[0] for name, values in stand_in._metrics["train"].items()}
    return dict(options, loss=loss.item(), gradient=rows(leaf.grad),
                metrics={k: v for k, v in metrics.items() if k in ("kl", "clip_ratio/low_mean", "clip_ratio/high_mean",
                                                                   "clip_ratio/region_mean", "cispo_clip_ratio")})


def grid():
    for loss_type in ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo"]:
        for level in ["token", "sequence"]:
            for beta, corrected in [(0.0, True), (0.3, True), (0.3, False)]:
                yield dict(loss_type=loss_type, importance_sampling_level=level, beta=beta, delta=None,
                           epsilon_high=0.28, use_bias_correction_kl=corrected)
    yield dict(loss_type="dapo", importance_sampling_level="token", beta=0.0, delta=1.25, epsilon_high=0.2,
               use_bias_correction_kl=True)
    yield dict(loss_type="rloo", importance_sampling_level="sequence", beta=0.0, delta=None, epsilon_high=0.2,
               use_bias_correction_kl=True)


def group_advantages(rewards, size, scale):
    grouped = rewards.view(-1, size)
    centred = rewards - torch.nanmean(grouped, dim=1).repeat_interleave(size)
    if scale == "none":
        return torch.nan_to_num(centred, nan=0.0)
    std = nanstd(grouped, dim=1).repeat_interleave(size) if scale == "group" else nanstd(rewards).expand_as(rewards)
    return torch.nan_to_num(centred / (std + 1e-4), nan=0.0)


rewards = torch.randn(12)
rewards[5] = float("nan")
rewards[8:] = 1.0  # a group without spread
golden = dict(
    lengths=LENGTHS, max_completion_length=MAX_LENGTH, logprobs=rows(logps), old=rows(old), ref=rows(ref),
    advantages=advantages.tolist(), cases=[case(options) for options in grid()],
    rewards=[None if r != r else r for r in rewards.tolist()], group_size=4,
    group_advantages={scale: group_advantages(rewards, 4, scale).tolist() for scale in ("group", "batch", "none")})
Path(__file__).with_name("policy_losses.json").write_text(json.dumps(golden) + "\n")
print(len(golden["cases"]), "cases")
