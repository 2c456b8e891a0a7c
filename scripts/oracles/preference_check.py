"""Preference methods against TRL's trainers: the losses of 10 steps in fp32 on a tiny model, same records in the same order.

TRL takes the whole global batch as one micro-batch; this program takes it in micro-batches of two. Metrics of the last step
are compared too. bco and prm are not in TRL 1.16: loops over their formulas stand here. PREFERENCE_ONLY=dpo,kto runs a part.
"""
import json
import os
import pathlib
import shutil
import sys
import tempfile

import datasets
import torch
import transformers
import trl
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from common import run, verdict, write_config

program, gguf = sys.argv[1:3]
STEPS, BATCH, RATE = 10, 4, 2e-3
ONLY = os.environ.get("PREFERENCE_ONLY", "dpo,kto,cpo,orpo,bco,reward,prm").split(",")
work = pathlib.Path(tempfile.mkdtemp(prefix="phalanx-preference-check-"))
datasets.disable_progress_bars()
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

chats = [json.loads(line)["messages"] for line in open("data/wordnet/train.jsonl", encoding="utf-8")][: STEPS * BATCH + 1]
pairs = [{"prompt": chat[:-1], "chosen": chat[-1:], "rejected": other[-1:]} for chat, other in zip(chats, chats[1:])]
text_of = lambda messages: messages[0]["content"]
text_pairs = [{"prompt": text_of(p["prompt"]) + "\n", "chosen": text_of(p["chosen"]), "rejected": text_of(p["rejected"])} for p in pairs]
unpaired = [{"prompt": p["prompt"], "completion": p["chosen"] if i % 3 else p["rejected"], "label": bool(i % 3)}
            for i, p in enumerate(pairs)]
for name, rows in (("pairs", pairs), ("text_pairs", text_pairs), ("unpaired", unpaired)):
    (work / f"{name}.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")


def make_model():
    tokenizer = transformers.AutoTokenizer.from_pretrained(pathlib.Path(gguf).resolve().parent, gguf_file=pathlib.Path(gguf).name)
    torch.manual_seed(7)
    config = transformers.LlamaConfig(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                                      num_attention_heads=4, num_key_value_heads=2, initializer_range=0.2,
                                      tie_word_embeddings=True, bos_token_id=tokenizer.bos_token_id,
                                      eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    transformers.LlamaForCausalLM(config).save_pretrained(work / "model")
    tokenizer.save_pretrained(work / "model")
    return tokenizer


tokenizer = make_model()


def model(kind=transformers.AutoModelForCausalLM):
    return kind.from_pretrained(work / "model", dtype=torch.float32)


def arguments(kind, rate=RATE, **settings):
    return kind(output_dir=str(work / "trl"), per_device_train_batch_size=BATCH, max_steps=STEPS, learning_rate=rate,
                lr_scheduler_type="constant", max_grad_norm=1.0, weight_decay=0.0, logging_steps=1, report_to="none", bf16=False,
                use_cpu=True, gradient_checkpointing=False, save_strategy="no", disable_tqdm=True, max_length=512,
                train_sampling_strategy="sequential", dataloader_pin_memory=False, **settings)


def trl_rows(trainer):
    """What TRL logs, with the losses as they are: the log rounds them."""
    exact, inner = [], trainer.compute_loss

    def recorded(*args, **more):
        result = inner(*args, **more)
        exact.append((result[0] if isinstance(result, tuple) else result).item())
        return result

    trainer.compute_loss = recorded
    trainer.train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    return [{**row, "loss": loss} for row, loss in zip(rows, exact, strict=True)]


def our_rows(name, data, method, folder="model", more="checkpoint: {every_steps: 0, save_final: false}", rate=RATE):
    config = write_config(work / f"{name}.yaml", f"""
run: {{name: {name}, output_dir: {work}/runs/{name}}}
model: {{path: {work}/{folder}}}
data: {{train: [{{path: {work}/{data}.jsonl}}], sequence_length: 512, shuffle: false, on_too_long: error}}
method: {json.dumps(method)}
optimizer: {{learning_rate: {rate}}}
schedule: {{name: constant}}
train: {{max_steps: {STEPS}, global_batch_size: {BATCH}, micro_batch_size: 2, max_grad_norm: 1.0, precision: fp32}}
{more}
""")
    run([program, "train", config])
    return [row for row in map(json.loads, open(work / "runs" / name / "metrics.jsonl")) if "loss" in row]


def compare(name, ours, theirs, keys=()):
    assert len(ours) == len(theirs) == STEPS, (name, len(ours), len(theirs))
    def apart(key, first):
        return max(abs(a[key] - b[key]) / max(abs(b[key]), 1e-3) for a, b in list(zip(ours, theirs))[first:] if key in b)

    # Before the first update rewards are rounding and no more, and which of two is larger is a toss.
    loss, metrics = apart("loss", 0), {key: apart(key, 1) for key in keys}
    worst = max(metrics, key=metrics.get, default=None)
    verdict(name, loss <= 1e-4 and all(v <= 2e-3 for v in metrics.values()),
            f"{STEPS} steps, worst relative difference of the loss {loss:.1e} (limit 1e-4)"
            + (f", of {worst} {metrics[worst]:.1e} (limit 2e-3)" if worst else "")
            + f"; loss {theirs[0]['loss']:.4f} -> {theirs[-1]['loss']:.4f}")


PAIR_METRICS = ("rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected")


def check_dpo(name, **settings):
    data = datasets.Dataset.from_list(pairs)
    trainer = trl.DPOTrainer(model=model(), ref_model=model(), args=arguments(trl.DPOConfig, **settings), train_dataset=data,
                             processing_class=tokenizer)
    ours = our_rows("dpo-" + name.replace(" ", "-"), "pairs", {"name": "dpo", **settings})
    compare("dpo " + name, ours, trl_rows(trainer), PAIR_METRICS)


if "dpo" in ONLY:
    for loss_type in ("sigmoid hinge ipo nca_pair bco_pair sppo_hard aot aot_unpaired apo_zero apo_down discopop sigmoid_norm "
                      "sft").split():
        check_dpo(loss_type, loss_type=[loss_type])
    check_dpo("exo_pair", loss_type=["exo_pair"], label_smoothing=1e-3)
    check_dpo("robust", loss_type=["robust"], label_smoothing=0.1, beta=0.3)
    for divergence in ("forward_kl", "js_divergence", "alpha_divergence"):
        check_dpo(divergence, f_divergence_type=divergence)
    check_dpo("mixture", loss_type=["sigmoid", "bco_pair", "sft"], loss_weights=[0.8, 0.2, 1.0])
    check_dpo("length-desensitised", ld_alpha=0.4)
    check_dpo("weighted (WPO)", use_weighting=True)
    check_dpo("reference beforehand", precompute_ref_log_probs=True)

if "kto" in ONLY:
    for loss_type in ("kto", "apo_zero_unpaired"):
        settings = {"loss_type": loss_type, "desirable_weight": 1.2, "undesirable_weight": 0.8}
        trainer = trl.KTOTrainer(model=model(), ref_model=model(), args=arguments(trl.KTOConfig, **settings),
                                 train_dataset=datasets.Dataset.from_list(unpaired), processing_class=tokenizer)
        ours = our_rows("kto-" + loss_type, "unpaired", {"name": "kto", **settings})
        compare(f"kto {loss_type}", ours, trl_rows(trainer),
                ("kl", "rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen", "logps/rejected")[loss_type != "kto":])


def without_bos():
    """These two trainers put a BOS in front of every prompt, which SmolLM2's tokenizer does not."""
    other = transformers.AutoTokenizer.from_pretrained(work / "model")
    other.bos_token = None
    return other


if "cpo" in ONLY:
    for settings in ({}, {"loss_type": "hinge"}, {"loss_type": "ipo"}, {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0},
                     {"loss_type": "simpo", "cpo_alpha": 0.5, "simpo_gamma": 1.0, "label_smoothing": 0.1},
                     {"loss_type": "alphapo", "alpha": 0.25}):
        trainer = CPOTrainer(model=model(), args=arguments(CPOConfig, **settings),
                             train_dataset=datasets.Dataset.from_list(text_pairs), processing_class=without_bos())
        name = "cpo " + " ".join(f"{k}={v}" for k, v in settings.items())
        ours = our_rows(name.replace(" ", "-"), "text_pairs", {"name": "cpo", **settings})
        compare(name, ours, trl_rows(trainer), PAIR_METRICS)

if "orpo" in ONLY:
    trainer = ORPOTrainer(model=model(), args=arguments(ORPOConfig), train_dataset=datasets.Dataset.from_list(text_pairs),
                          processing_class=without_bos())
    compare("orpo", our_rows("orpo", "text_pairs", {"name": "orpo"}), trl_rows(trainer),
            PAIR_METRICS + ("nll_loss", "log_odds_ratio", "log_odds_chosen"))


def bco_steps():
    policy, reference = model(), model()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=RATE, weight_decay=0.0)
    total, count, rows = 0.0, 0, []

    def logprob(which, ids, prompt):
        logits = which(torch.tensor([ids])).logits[0, :-1]
        return logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[prompt - 1:].sum()

    def ids_of(row):
        whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=False)
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
        assert whole[:len(prompt)] == prompt
        return whole, len(prompt)

    for step in range(STEPS):
        batch = unpaired[step * BATCH:(step + 1) * BATCH]
        with torch.no_grad():
            theirs = [logprob(reference, *ids_of(row)) for row in batch]
        rewards = [0.1 * (logprob(policy, *ids_of(row)) - other) for row, other in zip(batch, theirs)]
        total, count = total + sum(r.item() for r in rewards), count + BATCH
        sign = [1 if row["label"] else -1 for row in batch]
        loss = -torch.stack([torch.nn.functional.logsigmoid(s * (r - total / count)) for s, r in zip(sign, rewards)]).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        rows.append({"loss": loss.item()})
    return rows


if "bco" in ONLY:
    compare("bco", our_rows("bco", "unpaired", {"name": "bco"}), bco_steps())


def scores(scorer, chat_list):
    texts = [tokenizer.apply_chat_template(chat, return_dict=False) for chat in chat_list]
    with torch.no_grad():
        return torch.stack([scorer(torch.tensor([ids])).logits[0, 0] for ids in texts])


if "reward" in ONLY:
    kind = transformers.AutoModelForSequenceClassification
    torch.manual_seed(5)
    fresh = kind.from_pretrained(work / "model", num_labels=1, dtype=torch.float32)
    torch.nn.init.normal_(fresh.score.weight, std=0.2)
    fresh.save_pretrained(work / "scorer")
    tokenizer.save_pretrained(work / "scorer")
    with_margin = [{**p, "margin": 0.5 * (i % 3)} for i, p in enumerate(pairs)]
    (work / "margins.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in with_margin), encoding="utf-8")
    for name, data, rows, settings in (("reward", "pairs", pairs, {}),
                                       ("reward margin centred", "margins", with_margin, {"center_rewards_coefficient": 0.01})):
        scorer = kind.from_pretrained(work / "scorer", dtype=torch.float32)
        trainer = trl.RewardTrainer(model=scorer, args=arguments(trl.RewardConfig, 2e-4, **settings),
                                    train_dataset=datasets.Dataset.from_list(rows), processing_class=tokenizer)
        run_name = name.replace(" ", "-")
        ours = our_rows(run_name, data, {"name": "reward", **settings}, "scorer", "checkpoint: {every_steps: 0}", 2e-4)
        compare(name, ours, trl_rows(trainer), ("accuracy", "margin", "mean_reward", "min_reward", "max_reward"))
        chats_of = [p["prompt"] + p["chosen"] for p in pairs[:8]]
        final = kind.from_pretrained(work / "runs" / run_name / "final", dtype=torch.float32)
        apart = (scores(final, chats_of) - scores(scorer.eval(), chats_of)).abs().max().item()
        verdict(f"{name}: final/ in transformers", apart <= 2e-3, f"scores after training differ by {apart:.1e} (limit 2e-3)")

def prm_batch(row, last_only):
    """PRMTrainer's: prompt and steps are tokenised apart, the label stands at the last token of step and separator."""
    encode = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = encode(row["prompt"])
    labels = [-100] * len(ids)
    for i, (step, right) in enumerate(zip(row["completions"], row["labels"])):
        step_ids = encode(step) + encode("\n")
        ids += step_ids
        counts = not last_only or i + 1 == len(row["labels"])
        labels += [-100] * (len(step_ids) - 1) + [int(right) if counts else -100]
    return torch.tensor([ids]), torch.tensor(labels)


def prm_steps(scorer, rows, last_only):
    scorer.eval()  # transformers drops out scores while it trains
    optimizer = torch.optim.AdamW(scorer.parameters(), lr=RATE, weight_decay=0.0)
    result = []
    for step in range(STEPS):
        batch = [prm_batch(row, last_only) for row in rows[step * BATCH:(step + 1) * BATCH]]
        total = sum((labels != -100).sum() for _, labels in batch)
        loss = sum(torch.nn.functional.cross_entropy(scorer(ids).logits[0], labels, reduction="sum") for ids, labels in batch) / total
        loss.backward()
        torch.nn.utils.clip_grad_norm_(scorer.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        result.append({"loss": loss.item()})
    return result


if "prm" in ONLY:
    kind = transformers.AutoModelForTokenClassification
    steps = [{"prompt": row["prompt"], "completions": [part + "." for part in (row["chosen"] + " " + row["rejected"]).split(". ")][:4]}
             for row in text_pairs]
    for i, row in enumerate(steps):
        row["labels"] = [(i + j) % 3 > 0 for j in range(len(row["completions"]))]
    (work / "steps.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in steps), encoding="utf-8")
    torch.manual_seed(5)
    fresh = kind.from_pretrained(work / "model", num_labels=2, dtype=torch.float32)
    torch.nn.init.normal_(fresh.score.weight, std=0.2)
    torch.nn.init.normal_(fresh.score.bias, std=0.2)
    fresh.save_pretrained(work / "steps_scorer")
    tokenizer.save_pretrained(work / "steps_scorer")
    for last_only in (False, True):
        name = "prm last step" if last_only else "prm"
        scorer = kind.from_pretrained(work / "steps_scorer", dtype=torch.float32)
        theirs = prm_steps(scorer, steps, last_only)
        run_name = name.replace(" ", "-")
        ours = our_rows(run_name, "steps", {"name": "prm", "train_on_last_step_only": last_only}, "steps_scorer",
                        "checkpoint: {every_steps: 0}")
        compare(name, ours, theirs)
        final = kind.from_pretrained(work / "runs" / run_name / "final", dtype=torch.float32).eval()
        with torch.no_grad():
            apart = max((final(ids).logits - scorer(ids).logits).abs().max().item()
                        for ids, _ in (prm_batch(row, False) for row in steps[:8]))
        verdict(f"{name}: final/ in transformers", final.config.num_labels == 2 and apart <= 2e-3,
                f"scores after training differ by {apart:.1e} (limit 2e-3)")

shutil.rmtree(work)
