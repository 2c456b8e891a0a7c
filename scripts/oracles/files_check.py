"""Every kind of file or folder that the program loads, whole and damaged: whole ones are shown and used, damaged ones refused
with exit 65 and one error line. The model is tiny, so that hundreds of calls take a minute. transformers shards its folders.
"""
import json
import pathlib
import random
import shutil
import sys
import tempfile

import transformers

from common import call, load_reference, one_error_line, run, run_jsonl, verdict, write_config

program = pathlib.Path(sys.argv[1]).resolve()
work = pathlib.Path(tempfile.mkdtemp(prefix="phalanx-files-check-"))
for name in ("train.jsonl", "tokenizer"):
    source = pathlib.Path("tests/launch/fixture") / name
    shutil.copytree(source, work / name) if source.is_dir() else shutil.copy(source, work / name)


def train(name, model, more=""):
    config = write_config(work / f"{name}.yaml", f"""
run: {{name: {name}, output_dir: {work}/{name}, seed: 3}}
model: {model}
{more}
data: {{train: [{{path: {work}/train.jsonl}}], sequence_length: 128}}
optimizer: {{learning_rate: 1.0e-2}}
train: {{max_steps: 4, global_batch_size: 4, micro_batch_size: 2, precision: fp32}}
checkpoint: {{every_steps: 2}}
""")
    run([program, "train", config])


train("full", f"{{family: llama, hidden_size: 64, intermediate_size: 96, num_hidden_layers: 2, num_attention_heads: 4, "
              f"num_key_value_heads: 2, tie_word_embeddings: true, dtype: fp32, tokenizer: {work}/tokenizer}}")  # as a checkpoint keeps them
hf = work / "full/final"
train("lora", f"{{path: {hf}}}", "lora: {r: 4, alpha: 8}")
adapter, base = work / "lora/final", ["--set", f"model.path={hf}"]
sharded = work / "sharded"
load_reference(hf).save_pretrained(sharded, max_shard_size="60KB")
for name in ("tokenizer.json", "tokenizer_config.json"):
    shutil.copy(hf / name, sharded)
shards = len(list(sharded.glob("*.safetensors")))
failed = []


def expect(condition, what):
    if not condition:
        failed.append(what)
        print(f"  {what}")


# --- conversions: each verified by the program itself, then once more as A against B ---
conversions = 0
for source, more in ((hf, []), (work / "full", []), (sharded, []), (adapter, base), (work / "lora", [])):
    for to, outtype in (("hf", "f32"), ("hf", "f16"), ("hf", "bf16"), ("gguf", "f32"), ("gguf", "f16"), ("gguf", "bf16"), ("gguf", "q8_0")):
        made = work / f"made-{conversions}{'.gguf' if to == 'gguf' else ''}"
        for command in ([program, "export", source, made, "--to", to, "--outtype", outtype, *more],
                        [program, "verify", "export", source, made, *more]):
            code, _, err = call(command)
            expect(code == 0, f"exit {code}: {' '.join(map(str, command))}: {err.strip()[-300:]}")
        conversions += 1
        if to == "hf" and made.exists():
            transformers.AutoTokenizer.from_pretrained(made)
            load_reference(made)
for command in ([program, "export", adapter, work / "peft", "--to", "peft", *base], [program, "merge", hf, adapter, work / "merged"],
                [program, "merge", hf, adapter, work / "merged.gguf", "--to", "gguf", "--outtype", "q8_0"],
                [program, "export", hf, work / "q8.gguf", "--to", "gguf", "--outtype", "q8_0"], [program, "import", work / "q8.gguf", work / "imported"],
                [program, "verify", "export", work / "q8.gguf", work / "imported"]):
    code, _, err = call(command)
    expect(code == 0, f"exit {code}: {' '.join(map(str, command))}: {err.strip()[-300:]}")
    conversions += 1
code, _, err = call([program, "verify", "export", hf, work / "merged"])
expect(one_error_line(code, err) == "" and "model.layers.0.self_attn.q_proj.weight is off by" in err,
       f"verify export of two different models: {one_error_line(code, err) or err}")
verdict("conversions", not failed, f"{conversions} exports, merges and imports (one source of {shards} shards), read back and compared")

# --- score, generate and tokenize from every kind of model ---
step = work / "full/checkpoints/step_4"
models = [(hf, []), (work / "full", []), (step, []), (sharded, []), (work / "q8.gguf", []), (adapter, base), (adapter, []), (work / "lora", []),
          (work / "lora/checkpoints/step_4", [])]
fp32 = ["--set", "train.precision=fp32"]
scores = []
for model, more in models:
    rows = [{"text": "alpha beta"}, {"ids": [5, 6, 7]}, {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}]
    text = "".join(json.dumps(r) + "\n" for r in rows)
    for command in ("score", "tokenize"):
        code, out, err = call([program, command, model, *more, *(fp32 if command == "score" else [])], text)
        expect(code == 0 and out.count("\n") == 3, f"{command} {model}: exit {code}: {err.strip()[-300:]}")
        if command == "score":
            scores.append([p for line in out.splitlines() for p in json.loads(line)["logprobs"] if p is not None])
    prompts = "".join(json.dumps(r) + "\n" for r in ({"prompt": "alpha"}, {"ids": [5, 6]}, {"messages": [{"role": "user", "content": "a"}]}))
    code, out, err = call([program, "generate", model, *more, "--max-new-tokens", 5, "--temperature", 0.8, "--top-k", 20, "--top-p", 0.9,
                           "--min-p", 0.01, "--repetition-penalty", 1.1, "--seed", 7], prompts)
    rows = [json.loads(line) for line in out.splitlines()] if code == 0 else []
    expect(len(rows) == 3 and all(list(r) == ["text", "ids", "logprobs", "finish_reason"] and 1 <= len(r["ids"]) == len(r["logprobs"]) <= 5
                                  for r in rows), f"generate {model}: exit {code}: {err.strip()[-300:]}")
close = lambda a, b: len(a) == len(b) > 0 and max(abs(x - y) for x, y in zip(a, b)) < 1e-4
for i in (1, 2, 3):
    expect(close(scores[0], scores[i]), f"{models[i][0]} scores differently from {hf}")
for i in (6, 7, 8):
    expect(close(scores[5], scores[i]), f"{models[i][0]} scores differently from {adapter}")
verdict("models", not failed, f"{len(models)} kinds of model scored, tokenised and continued")

# --- inspect and tokenize: whole, then damaged ---
kinds = {"gguf": work / "q8.gguf", "safetensors": hf / "model.safetensors", "HF folder": hf, "sharded": sharded, "adapter": adapter,
         "tokenizer.json": hf / "tokenizer.json", "config.json": hf / "config.json", "adapter_config.json": adapter / "adapter_config.json",
         "checkpoint": step, "run": work / "full", "data": work / "train.jsonl"}
for kind, path in kinds.items():
    code, out, err = call([program, "inspect", path])
    expect(code == 0 and out and "error:" not in err, f"inspect {kind}: exit {code}: {err.strip()[-300:]}")
verdict("inspect", not failed, f"{len(kinds)} kinds shown")

rng = random.Random(11)


def damages(data):
    size = len(data)
    yield "empty", b""
    for at in (1, size // 3, size - 1):
        yield f"cut after {at} bytes", data[:at]
    yield "random bytes", rng.randbytes(min(size, 4096))
    yield "zero bytes", bytes(min(size, 4096))
    yield "a byte order mark before it", b"\xef\xbb\xbf" + data
    for _ in range(12):  # in the head, where structure is
        at, bit = rng.randrange(min(size, 3000)), rng.randrange(8)
        yield f"bit {bit} of byte {at}", data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1:]


refused, accepted, tries = 0, [], 0
must_refuse = ("empty", "cut after", "random", "zero")  # one flipped bit of a name, a number or a weight may leave a valid file
targets = [(k, k, kinds[k]) for k in ("gguf", "safetensors", "tokenizer.json", "config.json", "adapter_config.json", "data")]
targets += [("HF folder", "model.safetensors", hf), ("HF folder", "config.json", hf), ("HF folder", "tokenizer.json", hf),
            ("sharded", "model.safetensors.index.json", sharded), ("adapter", "adapter_model.safetensors", adapter)]
for kind, name, path in targets:
    file = path / name if path.is_dir() else path
    data = file.read_bytes()
    for what, damaged in damages(data):
        if kind == "data" and (what.startswith("a byte order") or what.endswith(f"{len(data) - 1} bytes")):
            continue  # a mark at the start of JSONL is skipped; its last line needs no line end
        if what.startswith("cut after") and damaged.strip() == data.strip():
            continue  # all that was lost is the line end after the JSON
        file.write_bytes(damaged)
        code, out, err = call([program, "inspect", path])
        tries += 1
        if code == 0 and not what.startswith(must_refuse):
            accepted.append(f"{kind}/{name}: {what}")
            continue
        problem = one_error_line(code, err)
        expect(not problem, f"inspect {kind}, {name}, {what}: {problem}")
        refused += not problem
    file.write_bytes(data)
for file in sorted(p for p in step.rglob("*") if p.is_file()):
    data = file.read_bytes()
    for _ in range(3):
        at = rng.randrange(len(data))
        file.write_bytes(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1:])
        for command in (["inspect", step], ["score", step]):
            code, _, err = call([program, *command], '{"ids": [1, 2]}\n')
            tries += 1
            problem = one_error_line(code, err)
            expect(not problem, f"{command[0]} checkpoint, {file.name}, a bit of byte {at}: {problem}")
            refused += not problem
    file.write_bytes(data)
verdict("damage", not failed, f"{tries} damaged files: {refused} refused with one line, {len(accepted)} flipped bits left a valid file")
shutil.rmtree(work)
