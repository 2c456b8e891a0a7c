"""llama.cpp by its C interface, which the wheel of xllamacpp exports: logits, perplexity, tokens, adapters, the quantiser of rows."""
import concurrent.futures
import ctypes
import math
import os

import gguf
import numpy as np
import xllamacpp.xllamacpp

THREADS = int(os.environ.get("OMP_NUM_THREADS", 2))
CONTEXT = 512
TYPES, F32, F16 = slice(23, 25), 0, 1  # type_k and type_v of llama_context_params
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
free_batch = function("llama_batch_free", None, Batch)
decode = function("llama_decode", ctypes.c_int32, P, Batch)
logits_of = function("llama_get_logits", ctypes.POINTER(ctypes.c_float), P)
set_threads = function("llama_set_n_threads", None, P, ctypes.c_int32, ctypes.c_int32)
free_context, free_model = function("llama_free", None, P), function("llama_model_free", None, P)
memory_of, clear = function("llama_get_memory", P, P), function("llama_memory_clear", None, P, ctypes.c_bool)
vocab_of, count_tokens = function("llama_model_get_vocab", P, P), function("llama_vocab_n_tokens", ctypes.c_int32, P)
tokenize = function("llama_tokenize", ctypes.c_int32, P, ctypes.c_char_p, ctypes.c_int32, P, ctypes.c_int32, ctypes.c_bool, ctypes.c_bool)
open_adapter = function("llama_adapter_lora_init", P, P, ctypes.c_char_p)
set_adapters = function("llama_set_adapters_lora", ctypes.c_int32, P, ctypes.POINTER(P), ctypes.c_size_t, ctypes.POINTER(ctypes.c_float))
quantise_chunk = function("ggml_quantize_chunk", ctypes.c_size_t, ctypes.c_int, P, P, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, P)
messages = []
log_callback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, P)(lambda level, text, _: messages.append(text) if level >= 3 else None)
function("llama_log_set", None, P, P)(ctypes.cast(log_callback, P), None)
lib.llama_backend_init()


class Engine:
    """A model in llama.cpp. @throws RuntimeError with its words if the file does not load."""

    def __init__(self, path, adapter=None):
        messages.clear()
        self.model = load(str(path).encode(), model_params())
        if not self.model:
            raise RuntimeError(b" ".join(messages).decode(errors="replace")[-500:])
        params = context_params()
        params.n_ctx = params.n_batch = params.n_ubatch = CONTEXT
        assert list(params.rest[TYPES]) == [F16, F16], "llama_context_params has another layout"
        params.rest[TYPES] = [F32, F32]  # keys and values as exact as ours
        self.context = new_context(self.model, params)
        set_threads(self.context, THREADS, THREADS)
        self.vocabulary = count_tokens(vocab_of(self.model))
        self.batch = new_batch(CONTEXT, 0, 1)
        if adapter:
            opened = open_adapter(self.model, str(adapter).encode())
            if not opened:
                raise RuntimeError(b" ".join(messages).decode(errors="replace")[-500:])
            assert set_adapters(self.context, (P * 1)(opened), 1, (ctypes.c_float * 1)(1.0)) == 0

    def close(self):
        free_batch(self.batch)
        free_context(self.context)
        free_model(self.model)

    def _run(self, ids, first):
        self.batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            self.batch.token[i], self.batch.pos[i], self.batch.n_seq_id[i], self.batch.logits[i] = token, first + i, 1, 1
            self.batch.seq_id[i][0] = 0
        assert decode(self.context, self.batch) == 0
        return np.ctypeslib.as_array(logits_of(self.context), (len(ids), self.vocabulary)).astype(np.float64)

    def logprobs(self, ids):
        """log p of the whole vocabulary behind every token, [N, V]."""
        clear(memory_of(self.context), True)
        rows = self._run(ids, 0)
        top = rows.max(1, keepdims=True)
        return rows - top - np.log(np.exp(rows - top).sum(1, keepdims=True))

    def greedy(self, ids, count):
        clear(memory_of(self.context), True)
        made = []
        rows = self._run(ids, 0)
        for _ in range(count):
            made.append(int(rows[-1].argmax()))
            rows = self._run([made[-1]], len(ids) + len(made) - 1)
        return made

    def tokenize(self, text):
        data = text.encode()
        out = (ctypes.c_int32 * (len(data) + 16))()
        return list(out[:tokenize(vocab_of(self.model), data, len(data), out, len(out), True, True)])

    def perplexity(self, ids):
        """exp of the mean of -log p of every token after the first of its piece of CONTEXT tokens."""
        total = count = 0
        for first in range(0, len(ids), CONTEXT):
            piece = ids[first:first + CONTEXT]
            total -= self.logprobs(piece)[np.arange(len(piece) - 1), piece[1:]].sum()
            count += len(piece) - 1
        return math.exp(total / count)


def perplexity(path, ids):
    engine = Engine(path)
    result = engine.perplexity(ids)
    engine.close()
    return result


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
    """`ours` with every quantised tensor made by llama.cpp from the unquantised file `plain`. @return the two errors, relative."""
    source = {tensor.name: tensor for tensor in plain.tensors}
    contents, mine, theirs, norm = bytearray(ours.data.tobytes()), 0.0, 0.0, 0.0
    for tensor in ours.tensors:
        if tensor.tensor_type not in gguf.GGML_QUANT_SIZES or gguf.GGML_QUANT_SIZES[tensor.tensor_type][0] == 1:
            continue
        values = np.ascontiguousarray(source[tensor.name].data, dtype=np.float32)
        values = values.reshape(-1, values.shape[-1])
        made = quantise(values, tensor.tensor_type)
        data = tensor.data.reshape(len(values), -1)
        mine += ((gguf.dequantize(data, tensor.tensor_type) - values).astype(np.float64) ** 2).sum()
        theirs += ((gguf.dequantize(made, tensor.tensor_type) - values).astype(np.float64) ** 2).sum()
        norm += (values.astype(np.float64) ** 2).sum()
        contents[tensor.data_offset:tensor.data_offset + made.nbytes] = made.tobytes()
    path.write_bytes(contents)
    return math.sqrt(mine / norm), math.sqrt(theirs / norm)
