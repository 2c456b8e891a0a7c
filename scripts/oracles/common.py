"""What the oracle checks share: running the program, loading the reference model, reporting."""
import json
import os
import pathlib
import re
import subprocess
import sys
import urllib.request

WORDNET = pathlib.Path("/usr/share/wordnet")


def call(command, stdin=None):
    """Runs a command; returns its exit code, stdout and stderr."""
    result = subprocess.run([str(c) for c in command], input=stdin, capture_output=True, text=True, errors="replace")
    return result.returncode, result.stdout, result.stderr


def run(command, stdin=None):
    """Runs a command, returns its stdout; ends the check with the program's own words if it fails."""
    code, out, err = call(command, stdin)
    if code != 0:
        sys.exit(f"FAILED ({code}): {' '.join(map(str, command))}\n{err[-2000:]}")
    return out


def run_jsonl(command, rows):
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return [json.loads(line) for line in run(command, text).rstrip("\n").split("\n")]  # U+2028 is no line end in JSON


def load_reference(folder, **more):
    import torch
    import transformers
    transformers.logging.set_verbosity_error()
    return transformers.AutoModelForCausalLM.from_pretrained(folder, **{"dtype": torch.float32, **more}).eval()


def reference_model(gguf, dtype=None):
    """The transformers model of the same dequantised weights."""
    gguf = pathlib.Path(gguf).resolve()
    return load_reference(gguf.parent, gguf_file=gguf.name, **({"dtype": dtype} if dtype else {}))


def glosses(count, part="noun"):
    lines = (WORDNET / f"data.{part}").read_text().splitlines()
    found = [line.partition(" | ")[2].strip() for line in lines if " | " in line]
    return found[:: max(1, len(found) // count)][:count]


class LlamaCpp:
    """llama.cpp's server inside this process (xllamacpp), asked by token ids; cache in fp32, one sequence at a time."""

    def __init__(self, path):
        import xllamacpp
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_parallel, params.warmup, params.fit_params, params.verbosity = 1024, 1, False, False, 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(os.environ.get("OMP_NUM_THREADS", 2))
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.server = xllamacpp.Server(params)

    def post(self, path, body):
        request = urllib.request.Request(self.server.listening_address + path, json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        return json.loads(urllib.request.urlopen(request).read())

    def tokenize(self, text):
        return self.post("/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"]

    def render(self, messages):
        return self.post("/apply-template", {"messages": messages})["prompt"]

    def greedy(self, ids, count):
        """The likeliest continuation, without a closing stop token."""
        return self.post("/completion", {"prompt": ids, "n_predict": count, "temperature": 0, "samplers": ["temperature"],
                                         "return_tokens": True, "cache_prompt": False})["tokens"]


def verdict(name, passed, text):
    print(f"{'passed' if passed else 'FAILED'}: {name}: {text}", flush=True)
    if not passed:
        sys.exit(1)


def one_error_line(code, err):
    """Nothing if a refusal is what a user must see (exit 65, one error line), else what is wrong with it."""
    errors = [line for line in err.split("\n") if "error:" in line]
    if code != 65:
        return f"exit {code}, not 65: {err[-300:]!r}"
    if len(errors) != 1:
        return f"{len(errors)} error lines: {err[-300:]!r}"
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", err):
        return f"control characters: {err[-300:]!r}"
    return "" if len(errors[0]) <= 600 else f"a line of {len(errors[0])} characters: {errors[0][:300]!r}"


def write_config(path, text):
    path = pathlib.Path(path)
    os.makedirs(path.parent, exist_ok=True)
    path.write_text(text)
    return path
