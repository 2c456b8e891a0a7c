"""Writes quants.safetensors: what the reference quantisers make of one matrix.

Needs gguf 0.19.0, safetensors 0.8.0, torch, and the quantiser of llama.cpp inside xllamacpp 2026.10.11549. Run it in this
folder; the file is small and committed, so the tests themselves need no Python.
"""

import ctypes

import gguf
import numpy as np
import torch
import xllamacpp.xllamacpp as engine
from gguf import GGMLQuantizationType as T
from gguf import quants
from safetensors.torch import save_file

ROWS, COLUMNS = 48, 256
rng = np.random.default_rng(23)
llama_cpp = ctypes.CDLL(engine.__file__)
llama_cpp.ggml_quantize_chunk.restype = ctypes.c_size_t


def quantised(values, kind, importance=None):
    """ggml_quantize_chunk: rows of `values` as `kind`."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    out = np.zeros(values.size // elements * size, dtype=np.uint8)
    pointer = lambda a: ctypes.c_void_p(a.ctypes.data if a is not None else None)
    llama_cpp.ggml_quantize_chunk(ctypes.c_int(kind.value), pointer(values), pointer(out), ctypes.c_int64(0),
                                  ctypes.c_int64(len(values)), ctypes.c_int64(values.shape[1]), pointer(importance))
    return out


values = rng.normal(0, 0.03, (ROWS, COLUMNS))
values[8:16] = rng.standard_t(3, (8, COLUMNS)) * 0.02  # a few large ones
values[16:20] *= rng.uniform(0, 3, COLUMNS)
values[20:24] = np.abs(values[20:24]) + 0.02  # no zero in the range
values[24] = 0
values[25] = 0.5
values[26] = -0.5
values[27, 1:] = 0
values[28] *= 1e-4  # scales that half precision cannot hold
values[29] *= 1e3
values = values.astype(np.float32)
importance = (rng.uniform(0.01, 1, COLUMNS) ** 4).astype(np.float32)

tensors = {"values": values, "importance": importance}
for kind in (T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1):
    tensors[kind.name] = quants.quantize(values, kind).reshape(-1)
    tensors[kind.name + "_weighted"] = quantised(values, kind, importance)
for kind in (T.Q4_K, T.Q5_K, T.Q6_K):
    tensors[kind.name] = quantised(values, kind)
    tensors[kind.name + "_weighted"] = quantised(values, kind, importance)
tensors["Q5_K_decoded"] = quants.dequantize(tensors["Q5_K"].reshape(ROWS, -1), T.Q5_K)
save_file({name: torch.from_numpy(array) for name, array in tensors.items()}, "quants.safetensors")
