"""Quantised GGUF exports against llama.cpp's own quantiser: perplexity of both files in llama.cpp, sizes of errors, and speed.

The reference file has the same tensor types (which follow llama.cpp's choice: tests/formats/gguf_mix_test.cpp); every matrix is
quantised anew by ggml_quantize_chunk from the F32 export.
"""
import concurrent.futures
import ctypes
import json
import math
import os
import pathlib
import shutil
import sys
import tempfile
import time

import gguf
import numpy as np
import xllamacpp.xllamacpp

from common import call, glosses, run, run_jsonl, verdict

program, model = sys.argv[1:3]
THREADS = int(os.environ.get("OMP_NUM_THREADS", 2))
TOKENS, CONTEXT, LIMIT = 4096, 512, 0.01
work = pathlib.Path(tempfile.mkdtemp(prefix="phalanx-quantise-check-"))
lib = ctypes.CDLL(xllamacpp.xllamacpp.__file__)
P = ctypes.c_void_p


class ModelParams(ctypes.Structure):  # larger than the real one, whose members are left at their defaults
    _fields_ = [("bytes", ctypes.c_uint64 * 64)]


class ContextParams(ctypes.Structure):
    _fields_ = [("n_ctx", ctypes.c_uint32), ("n_batch", ctypes.c_uint32), ("n_ubatch", ctypes.c_uint32),
                ("rest", ctypes.c_uint32 * 125)]


class Batch(ctypes.Structure):
    _fields_ = [("n_tokens", ctypes.c_int32), ("token", ctypes.POINTER(ctypes.c_int32)), ("embd", P),
                ("pos", ctypes.POINTER(ctypes.c_int32)), ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
                ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))), ("logits", ctypes.POINTER(ctypes.c_int8))]


def function(name, result, *arguments):
    found = getattr(lib, name)
    found.restype, found.argtypes = result, arguments
    return found


model_params = function("llama_model_default_params", ModelParams)
context_params = function("llama_context_default_params", ContextParams)
load = function("llama_model_load_from_file", P, ctypes.c_char_p, ModelParams)
new_context = function("llama_init_from_model", P, P, ContextParams)
new_batch = function("llama_batch_init", Batch, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32)
decode = function("llama_decode", ctypes.c_int32, P, Batch)
logits_of = function("llama_get_logits", ctypes.POINTER(ctypes.c_float), P)
set_threads = function("llama_set_n_threads", None, P, ctypes.c_int32, ctypes.c_int32)
free_context, free_model = function("llama_free", None, P), function("llama_model_free", None, P)
memory_of, clear = function("llama_get_memory", P, P), function("llama_memory_clear", None, P, ctypes.c_bool)
quantise_chunk = function("ggml_quantize_chunk", ctypes.c_size_t, ctypes.c_int, P, P, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, P)
log_callback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, P)(lambda *_: None)
function("llama_log_set", None, P, P)(ctypes.cast(log_callback, P), None)
lib.llama_backend_init()


def perplexity(path, ids, vocabulary):
    """exp of the mean of -log p of every token after the first of its piece of CONTEXT tokens."""
    loaded = load(str(path).encode(), model_params())
    if not loaded:
        verdict(f"{path.name} loads in llama.cpp", False, "llama_model_load_from_file failed")
    params = context_params()
    params.n_ctx = params.n_batch = params.n_ubatch = CONTEXT
    context = new_context(loaded, params)
    set_threads(context, THREADS, THREADS)
    batch, total, count = new_batch(CONTEXT, 0, 1), 0.0, 0
    for first in range(0, len(ids), CONTEXT):
        piece = ids[first:first + CONTEXT]
        batch.n_tokens = len(piece)
        for i, token in enumerate(piece):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, 1
            batch.seq_id[i][0] = 0
        clear(memory_of(context), True)
        assert decode(context, batch) == 0
        rows = np.ctypeslib.as_array(logits_of(context), (len(piece), vocabulary))[:-1].astype(np.float64)
        top = rows.max(1)
        log_sum = top + np.log(np.exp(rows - top[:, None]).sum(1))
        total += (log_sum - rows[np.arange(len(piece) - 1), piece[1:]]).sum()
        count += len(piece) - 1
    free_context(context)
    free_model(loaded)
    return math.exp(total / count)


def pointer(array):
    return None if array is None else array.ctypes.data_as(P)


def quantise(values, kind):
    """Rows of fp32 as `kind`, on THREADS threads."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    out = np.zeros((len(values), values.shape[1] // elements * size), dtype=np.uint8)
    bounds = [len(values) * i // THREADS for i in range(THREADS + 1)]
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda i: quantise_chunk(kind.value, pointer(values), pointer(out), bounds[i] * values.shape[1],
                                               bounds[i + 1] - bounds[i], values.shape[1], None), range(THREADS)))
    return out


def write_reference(path, ours, plain):
    """`ours` with every quantised tensor made by llama.cpp from the F32 file `plain`. @return the two errors, relative."""
    source = {tensor.name: tensor for tensor in plain.tensors}
    contents, mine, theirs, norm = bytearray(ours.data.tobytes()), 0.0, 0.0, 0.0
    for tensor in ours.tensors:
        if tensor.tensor_type not in gguf.GGML_QUANT_SIZES or gguf.GGML_QUANT_SIZES[tensor.tensor_type][0] == 1:
            continue
        values = source[tensor.name].data
        made = quantise(np.ascontiguousarray(values, dtype=np.float32), tensor.tensor_type)
        mine += ((gguf.dequantize(tensor.data, tensor.tensor_type) - values).astype(np.float64) ** 2).sum()
        theirs += ((gguf.dequantize(made, tensor.tensor_type) - values).astype(np.float64) ** 2).sum()
        norm += (values.astype(np.float64) ** 2).sum()
        contents[tensor.data_offset:tensor.data_offset + made.nbytes] = made.tobytes()
    path.write_bytes(contents)
    return math.sqrt(mine / norm), math.sqrt(theirs / norm)


text = "\n".join(glosses(700, "verb") + glosses(700))
ids = run_jsonl([program, "tokenize", model], [{"text": text}])[0]["ids"][:TOKENS]
calibration = work / "calibration.txt"
calibration.write_text("\n".join(glosses(400, "adj")))
f32 = work / "f32.gguf"
run([program, "export", model, f32, "--to", "gguf", "--outtype", "f32"])
plain = gguf.GGUFReader(f32)
vocabulary = next(t for t in plain.tensors if t.name == "token_embd.weight").data.shape[0]
base = perplexity(f32, ids, vocabulary)
print(f"  F32: perplexity {base:.4f} on {len(ids)} tokens of WordNet")

for outtype in ("q4_k_m", "q4_k_s", "q5_k_m", "q6_k", "q4_0", "q5_1"):
    path, reference = work / f"{outtype}.gguf", work / f"{outtype}.llama.gguf"
    run([program, "export", f32, path, "--to", "gguf", "--outtype", outtype])
    record = json.loads(pathlib.Path(f"{path}.verification.json").read_text())
    error, their_error = write_reference(reference, gguf.GGUFReader(path), plain)
    mine, theirs = perplexity(path, ids, vocabulary), perplexity(reference, ids, vocabulary)
    verdict(f"GGUF {outtype} in llama.cpp", abs(mine / theirs - 1) <= LIMIT or mine < theirs,
            f"perplexity {mine:.4f}, of llama.cpp's quantiser {theirs:.4f} ({100 * (mine / theirs - 1):+.2f} %, limit "
            f"{100 * LIMIT:.0f} %); relative error of weights {error:.5f} and {their_error:.5f}; KL {record['mean_kl']:.4f}, "
            f"top-1 {100 * record['top1_agreement']:.1f} %")
    code, _, err = call([program, "verify", "export", f32, reference])
    verdict(f"llama.cpp's {outtype} in verify export", code == 0, err.strip()[-300:] or "accepted")
    reference.unlink()
    if outtype in ("q4_k_m", "q4_0"):
        weighed = work / f"{outtype}.weighed.gguf"
        run([program, "export", f32, weighed, "--to", "gguf", "--outtype", outtype, "--imatrix-data", calibration])
        with_importance = perplexity(weighed, ids, vocabulary)
        verdict(f"GGUF {outtype} with an importance matrix", with_importance <= mine * 1.002,
                f"perplexity {with_importance:.4f}, without {mine:.4f}, F32 {base:.4f}")
        weighed.unlink()
    path.unlink()

bench = pathlib.Path(program).parent / "bench/formats_bench"
if not bench.exists():
    print(f"  not measured: speed; {bench} is not built")
else:
    values = np.random.default_rng(1).normal(0, 0.02, (4096, 4096)).astype(np.float32)
    for kind in ("Q4_K", "Q5_K", "Q6_K", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"):
        best = math.inf
        for _ in range(5):
            start = time.perf_counter()
            quantise(values, gguf.GGMLQuantizationType[kind])
            best = min(best, time.perf_counter() - start)
        out = run([bench, f"--benchmark_filter=encode/{kind}/", "--benchmark_format=json"])
        ours, theirs = json.loads(out)["benchmarks"][0]["items_per_second"] / 1e6, values.size / best / 1e6
        verdict(f"speed of {kind}", ours >= 0.8 * theirs,
                f"{ours:.0f} M values/s on all cores, llama.cpp {theirs:.0f} on {THREADS} threads ({ours / theirs:.2f} x)")
shutil.rmtree(work)
