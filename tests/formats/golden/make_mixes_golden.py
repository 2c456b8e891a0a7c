"""Writes gguf_mixes.json: the type that llama.cpp's quantiser chooses for each tensor, for models of several shapes.

Run with the folder of libllama.so as the only argument; the file was made with llama.cpp 0c1e57098bba (October 2026, as packed in the
source archive of llama-cpp-python 0.3.36). It asks llama.cpp's own choice (llama_quant_compute_types), so no weights are
needed. Layers are written as one letter each.
"""

import ctypes
import json
import pathlib
import sys

folder = pathlib.Path(sys.argv[1])
base = ctypes.CDLL(str(folder / "libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
llama = ctypes.CDLL(str(folder / "libllama.so"))

FILE_TYPES = {"q8_0": 7, "q6_k": 18, "q5_k_m": 17, "q5_k_s": 16, "q5_1": 9, "q5_0": 8, "q4_k_m": 15, "q4_k_s": 14, "q4_1": 3,
              "q4_0": 2}
LETTERS = {0: "f", 1: "h", 2: "0", 3: "1", 6: "5", 7: "6", 8: "8", 12: "k", 13: "m", 14: "n"}


class Params(ctypes.Structure):
    _fields_ = [("nthread", ctypes.c_int32), ("ftype", ctypes.c_int), ("output", ctypes.c_int), ("embedding", ctypes.c_int),
                *((name, ctypes.c_bool) for name in ("requantize", "quantize_output", "copy", "pure", "split", "dry")),
                *((name, ctypes.c_void_p) for name in ("imatrix", "kv", "tt", "prune")), ("max_buf", ctypes.c_size_t)]


class Model(ctypes.Structure):
    _fields_ = [("architecture", ctypes.c_char_p),
                *((name, ctypes.c_uint32) for name in ("embd", "ff", "layer", "head", "head_kv", "expert", "head_k", "head_v"))]


class Init(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool)]


def function(library, name, result, *arguments):
    found = getattr(library, name)
    found.restype, found.argtypes = result, arguments
    return found


P = ctypes.c_void_p
default_params = function(llama, "llama_model_quantize_default_params", Params)
describe = function(llama, "_Z31llama_quant_model_from_metadataPK22llama_quant_model_desc", P, P)
begin = function(llama, "_Z16llama_quant_initPK11llama_modelPK27llama_model_quantize_params", P, P, P)
compute = function(llama, "_Z25llama_quant_compute_typesP19quantize_state_impl11llama_ftypePP11ggml_tensorP9ggml_typem", None, P,
                   ctypes.c_int, P, P, ctypes.c_size_t)
ggml_init = function(base, "ggml_init", P, Init)
new_tensor = function(base, "ggml_new_tensor", P, P, ctypes.c_int, ctypes.c_int, P)
set_name = function(base, "ggml_set_name", P, P, ctypes.c_char_p)


def types(architecture, tensors, layers, heads, kv_heads, experts, mix):
    """{name: type} for {name: shape in C order}."""
    params = default_params()
    description = Model(architecture.encode(), 1, 1, layers, heads, kv_heads, experts, 64, 64)
    state = begin(describe(ctypes.byref(description)), ctypes.byref(params))
    context = ggml_init(Init(1 << 24, None, True))
    made = (P * len(tensors))()
    for i, (name, shape) in enumerate(tensors.items()):
        made[i] = new_tensor(context, 0, len(shape), (ctypes.c_int64 * len(shape))(*reversed(shape)))
        set_name(made[i], name.encode())
    result = (ctypes.c_int * len(tensors))()
    compute(state, FILE_TYPES[mix], made, result, len(tensors))
    return dict(zip(tensors, result))


def llama_tensors(layers, h, ffn, kv, tied, experts=0):
    tensors = {"token_embd.weight": [512, h], "output_norm.weight": [h]}
    if not tied:
        tensors["output.weight"] = [512, h]
    for i in range(layers):
        block = {"attn_norm": [h], "attn_q": [h, h], "attn_k": [kv, h], "attn_v": [kv, h], "attn_output": [h, h], "ffn_norm": [h]}
        feed = {"ffn_gate": [ffn, h], "ffn_up": [ffn, h], "ffn_down": [h, ffn]}
        if experts:
            block |= {"ffn_gate_inp": [experts, h]} | {f"{k}_exps": [experts, *shape] for k, shape in feed.items()}
        else:
            block |= feed
        tensors |= {f"blk.{i}.{name}.weight": shape for name, shape in block.items()}
    return tensors


def gpt2_tensors(layers, h):
    tensors = {"token_embd.weight": [512, h], "position_embd.weight": [64, h], "output_norm.weight": [h], "output_norm.bias": [h]}
    for i in range(layers):
        tensors |= {f"blk.{i}.{name}": shape for name, shape in {
            "attn_qkv.weight": [3 * h, h], "attn_qkv.bias": [3 * h], "attn_output.weight": [h, h], "ffn_up.weight": [4 * h, h],
            "ffn_down.weight": [h, 4 * h]}.items()}
    return tensors


MODELS = {
    "SmolLM2-135M": ("llama", llama_tensors(30, 576, 1536, 192, True), 30, 9, 3, 0),
    "Llama of 32 layers": ("llama", llama_tensors(32, 512, 768, 256, False), 32, 8, 4, 0),
    "Llama of 80 layers": ("llama", llama_tensors(80, 512, 768, 256, False), 80, 8, 1, 0),
    "80 layers, as many value heads": ("llama", llama_tensors(80, 512, 768, 512, False), 80, 8, 8, 0),
    "Mixtral": ("llama", llama_tensors(12, 512, 768, 256, False, 8), 12, 8, 4, 8),
    "four experts": ("llama", llama_tensors(12, 512, 768, 256, True, 4), 12, 8, 4, 4),
    "GPT-2": ("gpt2", gpt2_tensors(12, 768), 12, 12, 12, 0),
    "odd rows": ("llama", llama_tensors(10, 80, 160, 48, False), 10, 5, 3, 0),
    "tied, of whole blocks": ("qwen3", llama_tensors(9, 512, 96, 256, True), 9, 8, 4, 0),
}
golden = []
for name, (architecture, tensors, layers, heads, kv_heads, experts) in MODELS.items():
    chosen = {mix: types(architecture, tensors, layers, heads, kv_heads, experts, mix) for mix in FILE_TYPES}
    model = {"name": name, "architecture": architecture, "layers": layers, "heads": heads, "kv_heads": kv_heads,
             "experts": experts, "shapes": {}, "types": {mix: {} for mix in FILE_TYPES}}
    for tensor, shape in tensors.items():
        pattern = ".".join("*" if part.isdigit() else part for part in tensor.split("."))
        model["shapes"][pattern] = shape
        for mix in FILE_TYPES:
            model["types"][mix][pattern] = model["types"][mix].get(pattern, "") + LETTERS[chosen[mix][tensor]]
    golden.append(model)
pathlib.Path("gguf_mixes.json").write_text("[\n" + ",\n".join(json.dumps(model) for model in golden) + "\n]\n")
