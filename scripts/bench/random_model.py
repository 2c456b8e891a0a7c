"""Writes a Llama of random bf16 weights as a sharded Hugging Face folder, and beside it FOLDER-adapter, a LoRA of rank 16 on
every matrix of its layers, piece by piece; standard library only.

    random_model.py FOLDER TOKENIZER_FOLDER [key=value ...]     keys of config.json, e.g. num_hidden_layers=16

Every weight is +-(2^-6 .. 2^-5) with random sign and mantissa; norms are 1. Prints the bytes of all tensors and of the
largest.
"""
import json
import math
import os
import pathlib
import shutil
import struct
import sys

folder, tokenizer = map(pathlib.Path, sys.argv[1:3])
config = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 20, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "vocab_size": 32000, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "hidden_act": "silu", "tie_word_embeddings": False, "torch_dtype": "bfloat16", "bos_token_id": 1,
    "eos_token_id": 2}
config.update((k, json.loads(v)) for k, v in (argument.split("=") for argument in sys.argv[3:]))
SHARD_BYTES = 2_000_000_000
PIECE, RANK = 1 << 24, 16

hidden, ffn, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
q = config["num_attention_heads"] * config["head_dim"]
kv = config["num_key_value_heads"] * config["head_dim"]
shapes = {"model.embed_tokens.weight": (config["vocab_size"], hidden)}
for i in range(layers):
    layer = f"model.layers.{i}."
    shapes |= {layer + "input_layernorm.weight": (hidden,), layer + "post_attention_layernorm.weight": (hidden,),
               layer + "self_attn.q_proj.weight": (q, hidden), layer + "self_attn.k_proj.weight": (kv, hidden),
               layer + "self_attn.v_proj.weight": (kv, hidden), layer + "self_attn.o_proj.weight": (hidden, q),
               layer + "mlp.gate_proj.weight": (ffn, hidden), layer + "mlp.up_proj.weight": (ffn, hidden),
               layer + "mlp.down_proj.weight": (hidden, ffn)}
shapes["model.norm.weight"] = (hidden,)
if not config["tie_word_embeddings"]:
    shapes["lm_head.weight"] = (config["vocab_size"], hidden)
sizes = {name: 2 * (shape[0] * shape[1] if len(shape) == 2 else shape[0]) for name, shape in shapes.items()}


def random_weights(num_bytes, mask, base):
    def repeated(pattern):
        return int.from_bytes(pattern * (num_bytes // len(pattern)), "little")
    return (int.from_bytes(os.urandom(num_bytes), "little") & repeated(mask) | repeated(base)).to_bytes(num_bytes, "little")


PATTERNS = {"BF16": (b"\x7f\x80", b"\x80\x3c"), "F32": (b"\xff\xff\x7f\x80", b"\x00\x00\x80\x3c")}


def write_file(path, shapes, dtype):
    width = len(PATTERNS[dtype][0])
    header, end = {}, 0
    for name, shape in shapes.items():
        size = width * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            size = width * math.prod(shape)
            if len(shape) == 1:
                out.write(b"\x80\x3f" * shape[0])
                continue
            for first in range(0, size, PIECE):
                out.write(random_weights(min(PIECE, size - first), *PATTERNS[dtype]))


shards = [[]]
for name, size in sizes.items():
    if shards[-1] and sum(sizes[other] for other in shards[-1]) + size > SHARD_BYTES:
        shards.append([])
    shards[-1].append(name)

folder.mkdir(parents=True)
weight_map = {}
for i, names in enumerate(shards, 1):
    file = f"model-{i:05}-of-{len(shards):05}.safetensors" if len(shards) > 1 else "model.safetensors"
    weight_map |= {name: file for name in names}
    write_file(folder / file, {name: shapes[name] for name in names}, "BF16")
if len(shards) > 1:
    index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
for file in tokenizer.glob("*.json"):
    if file.name not in ("config.json", "generation_config.json", "model.safetensors.index.json"):
        shutil.copy(file, folder)
(folder / "config.json").write_text(json.dumps(config, indent=2))

adapter = folder.with_name(folder.name + "-adapter")
adapter.mkdir()
factors = {}
for name, shape in shapes.items():
    if len(shape) == 2 and ".layers." in name:
        module = "base_model.model." + name.removesuffix(".weight")
        factors[module + ".lora_A.weight"] = (RANK, shape[1])
        factors[module + ".lora_B.weight"] = (shape[0], RANK)
write_file(adapter / "adapter_model.safetensors", factors, "F32")
targets = sorted({name.split(".")[-3] for name in factors})
(adapter / "adapter_config.json").write_text(json.dumps(
    {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 8, "target_modules": targets}))
print(sum(sizes.values()), max(sizes.values()))
