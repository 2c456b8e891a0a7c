"""One sample of the peer: transformers eager (or PEFT) in a process of its own, so that its peak memory is its own.

usage: hf_peer.py GGUF TOKENS.json MODE DTYPE STEPS     MODE full | lora | decode, DTYPE fp32 | bf16 | autocast
prints one JSON line: tokens_per_s, first and last loss, seconds per step.
"""
import contextlib
import json
import pathlib
import sys
import time

import torch
import transformers

gguf, tokens, mode, dtype, steps = *sys.argv[1:5], int(sys.argv[5])
torch.set_num_threads(2)
transformers.logging.set_verbosity_error()
gguf = pathlib.Path(gguf).resolve()
model = transformers.AutoModelForCausalLM.from_pretrained(
    gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16 if dtype == "bf16" else torch.float32)
data = torch.tensor(json.load(open(tokens)))  # [steps, B, T]


def decode():
    model.eval()
    ids = data[0, :1, :32]
    model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
    start = time.perf_counter()
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=steps, min_new_tokens=steps, do_sample=False)
    seconds = time.perf_counter() - start
    return {"tokens_per_s": (out.shape[1] - ids.shape[1]) / seconds}


def train():
    global model
    if mode == "lora":
        import peft
        model = peft.get_peft_model(model, peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=2e-5, weight_decay=0.0, fused=True)
    context = torch.autocast("cpu", torch.bfloat16) if dtype == "autocast" else contextlib.nullcontext()
    losses, seconds = [], []
    for step in range(steps):
        start = time.perf_counter()
        ids = data[step % len(data)]
        with context:
            loss = model(ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    timed = sorted(seconds[1:])
    return {"tokens_per_s": data[0].numel() / timed[len(timed) // 2], "losses": losses, "step_s": seconds}


print(json.dumps(decode() if mode == "decode" else train()))
