"""Exports in other people's software: HF folder in transformers, adapter in PEFT, GGUF F32, F16 and Q8_0 in llama.cpp.

What is compared are token ids of greedy continuations; ours are computed in fp32.
"""
import pathlib
import shutil
import sys
import tempfile

import peft
import torch
import transformers

from common import LlamaCpp, glosses, load_reference, reference_model, run, run_jsonl, verdict, write_config
from tokenizer_check import bytes_without_token, strings

program, gguf = sys.argv[1:3]
TOKENS = 24
work = pathlib.Path(tempfile.mkdtemp(prefix="phalanx-export-check-"))
prompts = [" ".join(g.split()[:8]) for g in glosses(20)]

# A short LoRA run gives an adapter that really changes the model.
config = write_config(work / "lora.yaml", f"""
run: {{name: lora, output_dir: {work}/run}}
model: {{path: {gguf}}}
lora: {{r: 8, alpha: 16}}
data: {{train: [{{path: data/wordnet/eval.jsonl}}], sequence_length: 128}}
optimizer: {{learning_rate: 1.0e-3}}
schedule: {{name: constant}}
train: {{max_steps: 4, global_batch_size: 4, micro_batch_size: 4}}
checkpoint: {{every_steps: 0}}
""")
run([program, "train", config])
adapter, hf = work / "run/final", work / "hf"
run([program, "merge", gguf, adapter, hf, "--outtype", "f32"])


def ours(model):
    rows = run_jsonl([program, "generate", model, "--max-new-tokens", TOKENS, "--temperature", 0, "--set", "train.precision=fp32"],
                     [{"prompt": p} for p in prompts])
    return [row["ids"] for row in rows]


def gap(model, ids, mine, other):
    """How much likelier `mine` is than `other` after `ids` here, in nats: a small one is a tie that rounding decides."""
    rows = run_jsonl([program, "score", model, "--set", "train.precision=fp32"], [{"ids": ids + [mine]}, {"ids": ids + [other]}])
    return rows[0]["logprobs"][-1] - rows[1]["logprobs"][-1]


def equal(a, b, first=None):
    return sum(x[:first] == y[:first] for x, y in zip(a, b))


transformers.logging.set_verbosity_error()
tokenizer = transformers.AutoTokenizer.from_pretrained(hf)
prompt_ids = [tokenizer(prompt)["input_ids"] for prompt in prompts]


def transformers_ids(model):
    """One padded batch: transformers takes minutes for 20 prompts one by one."""
    longest = max(map(len, prompt_ids))
    ids = torch.tensor([[tokenizer.eos_token_id] * (longest - len(p)) + p for p in prompt_ids])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompt_ids])
    new = model.generate(ids, attention_mask=mask, max_new_tokens=TOKENS, do_sample=False,
                         pad_token_id=0)[:, longest:].tolist()
    stop = tokenizer.eos_token_id
    return [row[:row.index(stop) + 1] if stop in row else row for row in new]


same = equal(ours(hf), transformers_ids(load_reference(hf)))
verdict("HF folder in transformers", same == 20, f"{same}/20 greedy continuations of {TOKENS} tokens equal")

with_adapter = peft.PeftModel.from_pretrained(reference_model(gguf), adapter).eval()
same = equal(ours(adapter), transformers_ids(with_adapter))
verdict("adapter in PEFT", same == 20, f"{same}/20 greedy continuations of {TOKENS} tokens equal")


def without_stop(rows):
    stop = tokenizer.eos_token_id
    return [row[:-1] if row[-1:] == [stop] else row for row in rows]


# What the Q8_0 file holds, widened: llama.cpp computes with it in fp32 as we do, but with the Q8_0 file itself on activations
# rounded to int8. "widened" shows that both read the same weights, and how far llama.cpp's two ways agree with each other.
q8_0, imported, widened = work / "q8_0.gguf", work / "imported", work / "widened.gguf"
run([program, "export", hf, q8_0, "--to", "gguf", "--outtype", "q8_0"])
run([program, "import", q8_0, imported, "--outtype", "f32"])
run([program, "export", imported, widened, "--to", "gguf", "--outtype", "f32"])
engine = LlamaCpp(widened)
in_fp32 = without_stop([engine.greedy(ids, TOKENS) for ids in prompt_ids])
del engine
same = equal(without_stop(ours(q8_0)), in_fp32)
verdict("weights of the GGUF q8_0 in llama.cpp, fp32", same == 20, f"{same}/20 greedy continuations of {TOKENS} tokens equal")

for outtype, first, limit in (("f32", None, 20), ("f16", None, 20), ("q8_0", 16, 18)):
    path = work / f"{outtype}.gguf"
    if not path.exists():
        run([program, "export", hf, path, "--to", "gguf", "--outtype", outtype])
    engine = LlamaCpp(path)
    mine, theirs = without_stop(ours(path)), without_stop([engine.greedy(ids, TOKENS) for ids in prompt_ids])
    for prompt, ids, a, b in zip(prompts, prompt_ids, mine, theirs):
        if a[:first] != b[:first]:
            at = next(i for i, (x, y) in enumerate(zip(a + [-1], b + [-1])) if x != y)
            print(f"  {outtype}: {prompt!r}: token {at} is {a[at:at + 1]} here, {b[at:at + 1]} there", end="")
            print(f", by {gap(path, ids + a[:at], a[at], b[at]):.4f} nats" if at < min(len(a), len(b)) else "")
    if outtype == "q8_0":
        print(f"  q8_0: {equal(in_fp32, theirs, first)}/20 agree between llama.cpp in fp32 and llama.cpp on int8 activations")
    same = equal(mine, theirs, first)
    verdict(f"GGUF {outtype} in llama.cpp", same >= limit,
            f"{same}/20 greedy continuations of {first or TOKENS} tokens equal (limit {limit})")
    if outtype == "f32":  # its tokenizer keys and chat template
        special = [t.content for t in tokenizer.added_tokens_decoder.values()]
        missing = bytes_without_token(tokenizer.backend_tokenizer)
        texts = [t for t in strings(13600, special)[12300:] if t and missing.isdisjoint(t.encode())]
        rows = run_jsonl([program, "tokenize", path], [{"text": t} for t in texts])
        wrong = [t for t, row in zip(texts, rows) if engine.tokenize(t) != row["ids"]]
        for text in wrong[:5]:
            print(f"  differs: {text!r}")
        verdict("tokenizer of the GGUF in llama.cpp", not wrong, f"{len(texts) - len(wrong)} of {len(texts)} strings have equal ids")
        talks = [[{"role": "user", "content": p}, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Why?"}][:n]
                 for p in prompts[:5] for n in (1, 3)]
        talks += [[{"role": "system", "content": "Be brief."}] + talk for talk in talks]
        rows = run_jsonl([program, "tokenize", path], [{"messages": t, "add_generation_prompt": True} for t in talks])
        hf_texts = [tokenizer.apply_chat_template(t, tokenize=False, add_generation_prompt=True) for t in talks]
        same = sum(row["text"] == engine.render(t) == h for row, t, h in zip(rows, talks, hf_texts))
        verdict("chat template", same == len(talks), f"{same}/{len(talks)} conversations render alike here, in llama.cpp and transformers")
    del engine
    path.unlink()
shutil.rmtree(work)
