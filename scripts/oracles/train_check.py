"""10 training steps, full and LoRA, fp32, same batches, against a plain transformers / PEFT loop."""
import json
import pathlib
import shutil
import sys
import tempfile

import torch

from common import reference_model, run, run_jsonl, verdict, write_config

program, gguf = sys.argv[1:3]
STEPS, BATCH, RATE = 10, 4, 2e-4
work = pathlib.Path(tempfile.mkdtemp(prefix="phalanx-train-check-"))

records = [json.loads(line) for line in open("data/wordnet/train.jsonl", encoding="utf-8")][: STEPS * BATCH]
(work / "train.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
tokenised = run_jsonl([program, "tokenize", gguf], records)


def reference_steps(model, parameters):
    optimizer = torch.optim.AdamW(parameters, lr=RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    rows = []
    for step in range(STEPS):
        batch = tokenised[step * BATCH:(step + 1) * BATCH]
        targets = sum(sum(row["mask"][1:]) for row in batch)
        total = 0.0
        for row in batch:
            ids = torch.tensor([row["ids"]])
            logits = model(ids).logits[0, :-1].float()
            losses = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
            loss = (losses * torch.tensor(row["mask"][1:], dtype=torch.float32)).sum() / targets
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0).item()
        optimizer.step()
        optimizer.zero_grad()
        rows.append((total, norm))
    return rows


def our_steps(name, extra):
    config = write_config(work / f"{name}.yaml", f"""
run: {{name: {name}, output_dir: {work}/{name}}}
model: {{path: {gguf}}}
{extra}
data: {{train: [{{path: {work}/train.jsonl}}], sequence_length: 512, packing: false, shuffle: false}}
optimizer: {{learning_rate: {RATE}}}
schedule: {{name: constant}}
train: {{max_steps: {STEPS}, global_batch_size: {BATCH}, micro_batch_size: 2, max_grad_norm: 1.0, precision: fp32}}
checkpoint: {{every_steps: 0}}
""")
    run([program, "train", config])
    rows = [json.loads(line) for line in open(work / name / "metrics.jsonl")]
    return [(r["loss"], r["grad_norm"]) for r in rows if "loss" in r]


def compare(name, ours, reference):
    assert len(ours) == len(reference) == STEPS, (len(ours), len(reference))
    loss = max(abs(a[0] - b[0]) / abs(b[0]) for a, b in zip(ours, reference))
    norm = max(abs(a[1] - b[1]) / abs(b[1]) for a, b in zip(ours, reference))
    verdict(f"train {name}", loss <= 1e-4 and norm <= 1e-3,
            f"{STEPS} steps, worst relative difference: loss {loss:.1e} (limit 1e-4), grad_norm {norm:.1e} (limit 1e-3); "
            f"loss {reference[0][0]:.4f} -> {reference[-1][0]:.4f}")


model = reference_model(gguf).train()
reference = reference_steps(model, [p for p in model.parameters() if p.requires_grad])
compare("full", our_steps("full", ""), reference)

import peft
torch.manual_seed(5)
model = peft.get_peft_model(reference_model(gguf).train(), peft.LoraConfig(
    r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM", lora_dropout=0.0))
model.save_pretrained(work / "adapter")
reference = reference_steps(model, [p for p in model.parameters() if p.requires_grad])
compare("lora", our_steps("lora", f"lora: {{r: 8, alpha: 16, path: {work}/adapter}}"), reference)
shutil.rmtree(work)
