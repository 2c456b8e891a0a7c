"""Writes the golden file of tests/trainer/ppo_test.cpp: what the lines of TRL's PPOTrainer.train make of random
log-probabilities, values and scores (advantages, returns, losses and gradients, fp64).

TRL gives an answer one step more, behind its end, wherever the batch's padding leaves room for it. Here, as in the
program, the score goes to the last token: the lines are told that there is no room.

    PYTHONPATH=third_party/oracles/trl-with-ppo python tests/trainer/golden/make_ppo_golden.py      (torch 2.11; trl 1.9.2, the last line of releases with PPOTrainer)
"""
import inspect
import json
import textwrap
from pathlib import Path
from types import SimpleNamespace

import torch
from trl.experimental.ppo import ppo_trainer

torch.manual_seed(4)
torch.set_default_dtype(torch.float64)
LENGTHS = [5, 1, 7, 3, 4, 7]
WIDTH = max(LENGTHS)
SOURCE = inspect.getsource(ppo_trainer.PPOTrainer.train).splitlines()


def lines(first, last):
    """TRL's lines from the one that begins with `first` to the one that begins with `last`."""
    begin = next(i for i, line in enumerate(SOURCE) if line.strip().startswith(first))
    end = next(i for i in range(begin, len(SOURCE)) if SOURCE[i].strip().startswith(last))
    return textwrap.dedent("\n".join(SOURCE[begin:end + 1]))


def rows(padded):
    """Counted entries, sample by sample."""
    return [padded[i, t].item() for i, n in enumerate(LENGTHS) for t in range(n)]


REWARDS_TO_ADVANTAGES = lines("logr = ref_logprobs", "advantages = torch.masked_fill")
FIGURES = lines("mean_kl = kl.sum", "rlhf_reward")
LOSS = "\n".join([lines("vpred = vpred_temp", "loss = pg_loss").replace("[micro_batch_inds]", ""),
                  "pg_clipfrac = masked_mean((pg_losses2 > pg_losses).double(), ~padding_mask)"])

sequence_lengths = torch.tensor(LENGTHS) - 1
padding_mask = torch.arange(WIDTH).repeat(len(LENGTHS), 1) > sequence_lengths.unsqueeze(1)
count = (~padding_mask).sum()
old = (-torch.rand(len(LENGTHS), WIDTH) * 3).masked_fill(padding_mask, 1.0)
ref = (old + 0.3 * torch.randn_like(old)).clamp(max=-1e-3).masked_fill(padding_mask, 1.0)
new = (old + 0.3 * torch.randn_like(old)).clamp(max=-1e-3).masked_fill(padding_mask, 1.0)
values = torch.randn_like(old).masked_fill(padding_mask, 0)
new_values = (values + 0.4 * torch.randn_like(old)).masked_fill(padding_mask, 0)
scores = torch.randn(len(LENGTHS))
# Without room behind the end, and with values that stop there.
common = dict(vars(ppo_trainer), responses=torch.zeros(len(LENGTHS), WIDTH), padding_mask=padding_mask,
              padding_mask_p1=padding_mask, sequence_lengths=sequence_lengths,
              sequence_lengths_p1=sequence_lengths + WIDTH, values=values, ref_logprobs=ref, logprobs=old)


def targets(options):
    scope = dict(common, args=SimpleNamespace(**options), scores=scores.clone())
    exec(REWARDS_TO_ADVANTAGES, scope)
    scope["logprobs"] = old.masked_fill(padding_mask, 0)  # TRL sums the filler, too
    exec(FIGURES, scope)
    figures = {"objective/kl": "mean_kl", "objective/entropy": "mean_entropy",
               "objective/non_score_reward": "mean_non_score_reward", "objective/rlhf_reward": "rlhf_reward"}
    return dict(options, advantages=rows(scope["advantages"]), returns=rows(scope["returns"]),
                metrics={name: scope[variable].item() for name, variable in figures.items()}), scope


def loss(options, scope):
    policy, critic = new.clone().requires_grad_(), new_values.clone().requires_grad_()
    scope = dict(common, args=SimpleNamespace(**options), new_logprobs=policy, mb_logprobs=old,
                 vpred_temp=critic.unsqueeze(-1), context_length=1, mb_values=values,
                 mb_advantage=scope["advantages"], mb_return=scope["returns"])
    # `forward` gives one row more than there are tokens.
    scope["vpred_temp"] = torch.cat([critic, critic[:, :1]], 1).unsqueeze(-1)
    exec(LOSS, scope)
    scope["loss"].backward()
    masked = lambda x: (x * ~padding_mask).sum() / count
    metrics = {"loss/policy_avg": scope["pg_loss"], "loss/value_avg": scope["vf_loss"],
               "policy/clipfrac_avg": scope["pg_clipfrac"], "val/clipfrac_avg": scope["vf_clipfrac"],
               "policy/approxkl_avg": masked(0.5 * scope["logprobs_diff"] ** 2), "val/ratio": masked(scope["ratio"])}
    return dict(options, loss=scope["loss"].item(), policy_gradient=rows(policy.grad),
                value_gradient=rows(critic.grad), metrics={name: value.item() for name, value in metrics.items()})


cases = []
for kl_estimator in ["k1", "k3"]:
    for whiten_rewards in [False, True]:
        for gamma, lam in [(1.0, 0.95), (0.9, 0.8)]:
            cases.append(targets(dict(kl_estimator=kl_estimator, whiten_rewards=whiten_rewards, gamma=gamma, lam=lam,
                                      kl_coef=0.3)))
losses = [loss(dict(cliprange=cliprange, cliprange_value=cliprange_value, vf_coef=vf_coef), cases[0][1])
          for cliprange, cliprange_value, vf_coef in [(0.2, 0.2, 0.1), (0.1, 0.5, 1.0)]]
golden = dict(lengths=LENGTHS, old=rows(old), ref=rows(ref), values=rows(values), scores=scores.tolist(),
              targets=[case for case, _ in cases], new=rows(new), new_values=rows(new_values), losses=losses)
Path(__file__).with_name("ppo.json").write_text(json.dumps(golden) + "\n")
print(len(cases), "targets,", len(losses), "losses")
