"""Exports in other people's software: HF folder in transformers, adapter in PEFT, GGUF F16 and Q8_0 in llama.cpp."""
import json
import pathlib
import shutil
import sys
import tempfile

import torch

from common import glosses, run, run_jsonl, verdict, write_config

program, gguf = sys.argv[1:3]
TOKENS = 24
work = pathlib.Path(tempfile.mkdtemp(prefix="phalanx-export-check-"))
prompts = [" ".join(g.split()[:8]) for g in glosses(20)]

# A short LoRA run gives an adapter that really changes the model.
config = write_config(work / "lora.yaml", f"""
run: {{name: lora, output_dir: {work}/run}}
model: {{path: {gguf}}}
lora: {{r: 8, alpha: 16}}
data: {{train: [{{path: data/wordnet/train.jsonl}}], sequence_length: 128}}
optimizer: {{learning_rate: 1.0e-3}}
schedule: {{name: constant}}
train: {{max_steps: 4, global_batch_size: 4, micro_batch_size: 4}}
checkpoint: {{every_steps: 0}}
""")
run([program, "train", config])
adapter, hf, f16, q8 = work / "run/final", work / "hf", work / "f16.gguf", work / "q8_0.gguf"
run([program, "merge", gguf, adapter, hf, "--outtype", "f32"])
run([program, "export", hf, f16, "--to", "gguf", "--outtype", "f16"])
run([program, "export", hf, q8, "--to", "gguf", "--outtype", "q8_0"])


def ours(model):
    return run_jsonl([program, "generate", model, "--max-new-tokens", str(TOKENS), "--temperature", "0",
                      "--set", "train.precision=fp32"], [{"prompt": p} for p in prompts])


def equal(a, b, first=None):
    return sum(x[:first] == y[:first] for x, y in zip(a, b))


def transformers_ids(model, tokenizer):
    out = []
    for prompt in prompts:
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        new = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, do_sample=False)[0, ids.shape[1]:]
        out.append(new.tolist())
    return out


import transformers
transformers.logging.set_verbosity_error()
tokenizer = transformers.AutoTokenizer.from_pretrained(hf)
model = transformers.AutoModelForCausalLM.from_pretrained(hf, dtype=torch.float32).eval()
merged = [row["ids"] for row in ours(hf)]
theirs = transformers_ids(model, tokenizer)
same = equal(merged, theirs)
verdict("HF folder in transformers", same == 20, f"{same}/20 greedy continuations of {TOKENS} tokens equal")

import peft
from common import reference_model
base = reference_model(gguf)
with_adapter = peft.PeftModel.from_pretrained(base, adapter).eval()
same = equal([row["ids"] for row in ours(adapter)], transformers_ids(with_adapter, tokenizer))
verdict("adapter in PEFT", same == 20, f"{same}/20 greedy continuations equal")

import xllamacpp


def llama_cpp(path):
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.warmup = 512, 1, False
    params.cpuparams.n_threads = 2
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(params)
    out = []
    for prompt in prompts:
        reply = server.handle_completions({"prompt": tokenizer(prompt)["input_ids"], "max_tokens": TOKENS, "temperature": 0,
                                           "top_k": 1, "return_tokens": True, "cache_prompt": False})
        reply = reply if isinstance(reply, dict) else json.loads(reply)
        choice = reply.get("choices", [reply])[0]
        text = choice.get("text", reply.get("content", ""))
        out.append(text)
    return out


def texts(rows):
    return [row["text"] for row in rows]


same = equal(texts(ours(f16)), llama_cpp(f16))
verdict("GGUF F16 in llama.cpp", same == 20, f"{same}/20 greedy continuations equal")
mine, other = ours(q8), llama_cpp(q8)
heads = [tokenizer.decode(row["ids"][:16], skip_special_tokens=True) for row in mine]
same = sum(o.startswith(h.rstrip("\ufffd")) for h, o in zip(heads, other))
verdict("GGUF Q8_0 in llama.cpp", same >= 18, f"the first 16 tokens of {same}/20 equal (limit 18)")
shutil.rmtree(work)
