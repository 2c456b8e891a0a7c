"""Writes the golden files of tests/formats with the reference implementations.

Needs gguf 0.19.0, safetensors 0.8.0, torch, transformers and peft. Run it in this folder; the files are small and
committed, so the tests themselves need no Python.
"""

import json
import os

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as T
from gguf import quants
from safetensors.torch import save_file

rng = np.random.default_rng(17)


def random_blocks(kind, rows=4, columns=256):
    """Random bits in every block, but finite half-precision scales of ordinary size."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (rows * columns // elements, size), dtype=np.uint8)
    places = {T.Q4_1: [0, 2], T.Q5_1: [0, 2], T.Q4_K: [0, 2], T.Q6_K: [208]}.get(kind, [0])
    for place in places:
        scales = rng.normal(0, 0.1, len(blocks)).astype(np.float16)
        blocks[:, place : place + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1)


def all_types():
    writer = gguf.GGUFWriter("all_types.gguf", "llama")
    expected = {}
    for kind in (T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q4_K, T.Q6_K):
        raw = random_blocks(kind)
        expected[kind.name] = torch.from_numpy(quants.dequantize(raw, kind))
        writer.add_tensor(kind.name, raw, raw_dtype=kind)
    values = rng.normal(0, 1, (4, 256))
    values[0, :8] = [0.0, -0.0, 1e-40, 6e-8, 65504.0, -1.0, 3.1e-5, 1e-7]
    for kind, array in (("F64", values), ("F32", values.astype(np.float32)), ("F16", values.astype(np.float16))):
        writer.add_tensor(kind, array)
        expected[kind] = torch.from_numpy(array.astype(np.float32))
    bits = quants.quantize(values.astype(np.float32), T.BF16)
    writer.add_tensor("BF16", bits, raw_dtype=T.BF16)
    expected["BF16"] = torch.from_numpy(quants.dequantize(bits, T.BF16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, "all_types_expected.safetensors")


def encodings():
    values = (rng.normal(0, 1, (16, 64)) * 10.0 ** rng.integers(-9, 5, (16, 1))).astype(np.float32)
    values[0, :32] = 0
    values[1, :6] = [0.5, 1.5, 2.5, -0.5, -1.5, 127.0]  # ties
    values[1, 6:32] = 0
    values[2, :8] = [1.00048828125, 1.00146484375, 6.1e-5, 5.96e-8, 2.98e-8, 2.9802322387695312e-8, 65519.0, 65520.0]
    values[3, :2] = [1.00390625, 1.01171875]
    tensors = {"values": torch.from_numpy(values)}
    with np.errstate(over="ignore"):
        tensors["F16"] = torch.from_numpy(values.astype(np.float16).view(np.uint8))
    tensors["BF16"] = torch.from_numpy(quants.quantize(values, T.BF16))
    tensors["Q8_0"] = torch.from_numpy(quants.quantize(values[:2], T.Q8_0))
    big = values[4:] * (np.abs(values[4:]) < 1e4)
    tensors["Q8_0_more"] = torch.from_numpy(quants.quantize(big, T.Q8_0))
    tensors["more"] = torch.from_numpy(big)
    save_file(tensors, "encodings.safetensors")


def tiny_gguf():
    writer = gguf.GGUFWriter("tiny.gguf", "llama")
    writer.add_uint8("test.u8", 200)
    writer.add_int8("test.i8", -100)
    writer.add_uint16("test.u16", 60000)
    writer.add_int16("test.i16", -30000)
    writer.add_uint32("test.u32", 4000000000)
    writer.add_int32("test.i32", -2000000000)
    writer.add_uint64("test.u64", 2**60)
    writer.add_int64("test.i64", -(2**60))
    writer.add_float32("test.f32", 0.1)
    writer.add_float64("test.f64", 0.1)
    writer.add_bool("test.bool", True)
    writer.add_string("test.text", "Grüße\n")
    writer.add_array("test.texts", ["a", "", "Ġb"])
    writer.add_array("test.ints", [1, -2, 3])
    writer.add_array("test.floats", [0.5, -1.5])
    writer.add_array("test.bools", [True, False])
    writer.add_tensor("first.weight", np.arange(6, dtype=np.float32).reshape(2, 3))
    writer.add_tensor("second.weight", np.arange(4, dtype=np.float16))
    writer.add_tensor("ids", np.arange(3, dtype=np.int32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def sharded_gguf():
    writer = gguf.GGUFWriter("shards.gguf", "llama", split_max_tensors=1)
    for i in range(3):
        writer.add_tensor(f"blk.{i}.ffn_norm.weight", np.full(4, i, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tiny_safetensors():
    tensors = {
        "b": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "a": torch.arange(4, dtype=torch.bfloat16),
        "scalar": torch.tensor(7, dtype=torch.int64),
        "flags": torch.tensor([True, False, True]),
        "empty": torch.zeros(0, 5),
        "half": torch.ones(3, dtype=torch.float16),
        "é\n": torch.tensor([1], dtype=torch.int8),
    }
    save_file(tensors, "tiny.safetensors", metadata={"format": "pt"})


def adapters():
    from peft import LoraConfig

    config = LoraConfig(
        r=16,
        lora_alpha=32,
        lora_dropout=0.05,
        target_modules=["q_proj", "v_proj"],
        task_type="CAUSAL_LM",
        rank_pattern={"layers.0.self_attn.q_proj": 4},
        alpha_pattern={"layers.0.self_attn.q_proj": 12},
        base_model_name_or_path="../../etc/passwd",
    )
    config.inference_mode = True
    config.save_pretrained(".")


def configs():
    from transformers import LlamaConfig

    config = LlamaConfig(
        vocab_size=300,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        rms_norm_eps=1e-5,
        bos_token_id=1,
        eos_token_id=[2, 3],
        dtype="bfloat16",
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 1024,
        },
    )
    config.architectures = ["LlamaForCausalLM"]
    with open("config_v5.json", "w") as file:
        file.write(config.to_json_string(use_diff=False))
    values = json.loads(config.to_json_string(use_diff=False))
    rope = values.pop("rope_parameters")
    values["torch_dtype"] = values.pop("dtype")
    values["rope_theta"] = rope.pop("rope_theta")
    values["rope_scaling"] = rope
    with open("config_v4.json", "w") as file:
        json.dump(values, file, indent=2, sort_keys=True)


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    all_types()
    encodings()
    tiny_gguf()
    sharded_gguf()
    tiny_safetensors()
    adapters()
    configs()
