"""What the oracle checks share: running the program, loading the reference model, reporting."""
import json
import os
import pathlib
import subprocess
import sys

WORDNET = pathlib.Path("/usr/share/wordnet")


def run(command, stdin=None):
    """Runs a command, returns its stdout; ends the check with the program's own words if it fails."""
    result = subprocess.run([str(c) for c in command], input=stdin, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"FAILED ({result.returncode}): {' '.join(map(str, command))}\n{result.stderr[-2000:]}")
    return result.stdout


def run_jsonl(command, rows):
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return [json.loads(line) for line in run(command, text).splitlines()]


def reference_model(gguf, dtype=None):
    """The transformers model of the same dequantised weights."""
    import torch
    import transformers
    transformers.logging.set_verbosity_error()
    gguf = pathlib.Path(gguf).resolve()
    return transformers.AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=dtype or torch.float32).eval()


def reference_tokenizer(gguf):
    import transformers
    gguf = pathlib.Path(gguf).resolve()
    return transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)


def glosses(count, part="noun"):
    lines = (WORDNET / f"data.{part}").read_text().splitlines()
    found = [line.partition(" | ")[2].strip() for line in lines if " | " in line]
    return found[:: max(1, len(found) // count)][:count]


def verdict(name, passed, text):
    print(f"{'passed' if passed else 'FAILED'}: {name}: {text}", flush=True)
    if not passed:
        sys.exit(1)


def write_config(path, text):
    path = pathlib.Path(path)
    os.makedirs(path.parent, exist_ok=True)
    path.write_text(text)
    return path
