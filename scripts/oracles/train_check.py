"""10 training steps in fp32, same batches, against a plain transformers / PEFT loop: loss and gradient norm of every step.

Three runs: all weights with accumulation; LoRA from a PEFT adapter; LoRA with packing, accumulation, weight decay, warm-up,
cosine and a clip that bites.
"""
import json
import pathlib
import shutil
import sys
import tempfile

import peft
import torch
import transformers

from common import reference_model, run, run_jsonl, verdict, write_config

program, gguf = sys.argv[1:3]
STEPS, BATCH = 10, 2
work = pathlib.Path(tempfile.mkdtemp(prefix="phalanx-train-check-"))

records = [json.loads(line) for line in open("data/wordnet/train.jsonl", encoding="utf-8")][: STEPS * BATCH]
(work / "train.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
tokenised = run_jsonl([program, "tokenize", gguf], records)


def packed(samples, length):
    """Best-fit decreasing: the longest sample first, into the fullest bin with room."""
    bins = []
    room = lambda b: length - sum(len(r["ids"]) for r in b)
    for sample in sorted(samples, key=lambda r: -len(r["ids"])):
        fitting = [b for b in bins if room(b) >= len(sample["ids"])]
        if fitting:
            min(fitting, key=room).append(sample)
        else:
            bins.append([sample])
    return bins


torch_norm_errors = []


def clip_exactly(parameters, limit):
    """torch.nn.utils.clip_grad_norm_ with the norm summed in fp64, and how far torch's own fp32 sum is from that: on machines
    with short vectors up to 1e-3, as the 28 million elements of an embedding's gradient are added in a few fp32 lanes. A clip
    by that norm would scale the reference's gradients by its error."""
    norm = torch.stack([p.grad.double().pow(2).sum() for p in parameters]).sum().sqrt().item()
    torch_norm_errors.append(abs(torch.nn.utils.get_total_norm([p.grad for p in parameters]).item() / norm - 1))
    if norm > limit:
        for p in parameters:
            p.grad.mul_(limit / (norm + 1e-6))
    return norm


def reference_steps(model, sequences, batch_size, rate, decay=0.0, clip=1.0, warmup=None):
    """`sequences` are lists of samples; each sample is run by itself, so nothing can leak between them."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    parameters = [p for _, p in named]
    groups = [{"params": [p for p in parameters if p.dim() >= 2], "weight_decay": decay},
              {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.999), eps=1e-8)
    schedule = transformers.get_cosine_schedule_with_warmup(optimizer, warmup, STEPS) if warmup else None
    rows = []
    for step in range(STEPS):
        batch = [row for i in range(batch_size) for row in sequences[(step * batch_size + i) % len(sequences)]]
        targets = sum(sum(row["mask"][1:]) for row in batch)
        total = 0.0
        for row in batch:
            ids = torch.tensor([row["ids"]])
            logits = model(ids).logits[0, :-1].float()
            losses = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
            loss = (losses * torch.tensor(row["mask"][1:], dtype=torch.float32)).sum() / targets
            loss.backward()
            total += loss.item()
        norm = clip_exactly(parameters, clip)
        rows.append((total, norm, optimizer.param_groups[0]["lr"]))
        optimizer.step()
        optimizer.zero_grad()
        if schedule:
            schedule.step()
    return rows


def our_steps(name, text):
    config = write_config(work / f"{name}.yaml", f"run: {{name: {name}, output_dir: {work}/{name}}}\nmodel: {{path: {gguf}}}\n"
                          f"checkpoint: {{every_steps: 0}}\n{text}")
    run([program, "train", config])
    rows = [json.loads(line) for line in open(work / name / "metrics.jsonl")]
    return [(r["loss"], r["grad_norm"], r["learning_rate"]) for r in rows if "loss" in r]


def compare(name, ours, reference):
    assert len(ours) == len(reference) == STEPS, (len(ours), len(reference))
    loss, norm, rate = (max(abs(a[i] - b[i]) / max(abs(b[i]), 1e-30) for a, b in zip(ours, reference)) for i in range(3))
    verdict(f"train {name}", loss <= 1e-4 and norm <= 1e-3 and rate <= 1e-6,
            f"{STEPS} steps, worst relative difference: loss {loss:.1e} (limit 1e-4), grad_norm {norm:.1e} (limit 1e-3), "
            f"learning rate {rate:.1e}; loss {reference[0][0]:.4f} -> {reference[-1][0]:.4f}; torch's own fp32 norm is off by {max(torch_norm_errors):.1e}")
    torch_norm_errors.clear()


def lora_model():
    torch.manual_seed(5)
    return peft.get_peft_model(reference_model(gguf).train(), peft.LoraConfig(
        r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM", lora_dropout=0.0))


data = f"data: {{train: [{{path: {work}/train.jsonl}}], sequence_length: 128, packing: %s, shuffle: false}}\n"
one_each = [[row] for row in tokenised]

reference = reference_steps(reference_model(gguf).train(), one_each, BATCH, 2e-4)
compare("full", our_steps("full", data % "false" + f"""
optimizer: {{learning_rate: 2.0e-4}}
schedule: {{name: constant}}
train: {{max_steps: {STEPS}, global_batch_size: {BATCH}, micro_batch_size: 1, max_grad_norm: 1.0, precision: fp32}}
"""), reference)

model = lora_model()
model.save_pretrained(work / "adapter")
reference = reference_steps(model, one_each, BATCH, 2e-4)
compare("lora", our_steps("lora", data % "false" + f"""
lora: {{path: {work}/adapter}}
optimizer: {{learning_rate: 2.0e-4}}
schedule: {{name: constant}}
train: {{max_steps: {STEPS}, global_batch_size: {BATCH}, micro_batch_size: 2, max_grad_norm: 1.0, precision: fp32}}
"""), reference)

reference = reference_steps(lora_model(), packed(tokenised, 128), 2, 1e-3, decay=0.1, clip=0.5, warmup=3)
compare("lora, packed, accumulated, decayed, warmed up, clipped", our_steps("packed", data % "true" + f"""
lora: {{path: {work}/adapter}}
optimizer: {{learning_rate: 1.0e-3, weight_decay: 0.1}}
schedule: {{name: cosine, warmup_steps: 3}}
train: {{max_steps: {STEPS}, global_batch_size: 2, micro_batch_size: 1, max_grad_norm: 0.5, precision: fp32}}
"""), reference)
shutil.rmtree(work)
