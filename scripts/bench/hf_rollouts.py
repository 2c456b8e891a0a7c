"""The peer of rollouts.py: transformers' generate in a process of its own, which stays between samples.

usage: hf_rollouts.py GGUF PROMPT.json GROUP NEW_TOKENS DTYPE CACHE     DTYPE fp32 | bf16, CACHE dynamic | static
Reads lines: each "go" is answered by one JSON line, {"seconds"}; ends with its input.
"""
import json
import pathlib
import sys
import time

import torch
import transformers

gguf, prompt, group, new_tokens, dtype, cache = sys.argv[1:7]
torch.set_num_threads(2)
transformers.logging.set_verbosity_error()
gguf = pathlib.Path(gguf).resolve()
model = transformers.AutoModelForCausalLM.from_pretrained(
    gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16 if dtype == "bf16" else torch.float32,
    attn_implementation="sdpa").eval()
ids = torch.tensor([json.load(open(prompt))])


def sample(tokens):
    with torch.inference_mode():
        return model.generate(ids, attention_mask=torch.ones_like(ids), num_return_sequences=int(group), do_sample=True,
                              temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=tokens, min_new_tokens=tokens,
                              **({"cache_implementation": "static"} if cache == "static" else {}))


sample(8)
print("ready", flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    out = sample(int(new_tokens))
    seconds = time.perf_counter() - start
    assert out.shape == (int(group), ids.shape[1] + int(new_tokens))
    print(json.dumps({"seconds": seconds}), flush=True)
