"""`phalanx tokenizer train` against Hugging Face tokenizers' BpeTrainer: the same corpus, the same vocabulary and merges.

Usage: tokenizer_train_check.py PHALANX MODEL      MODEL is not used
The corpus is WordNet's glosses with other scripts between them (and gcide, where dict-gcide is installed), as lines of text
and as JSON lines, plain and packed. Each result must also load in the reference library and give its ids.
"""
import gzip
import json
import os
import pathlib
import sys
import tempfile
import time

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from common import call, verdict
from tokenizer_check import LLAMA3, QWEN2, glosses, strings

GCIDE = pathlib.Path(os.environ.get("PHALANX_GCIDE", "/usr/share/dictd/gcide.dict.dz"))
OTHERS = ["Das Mädchen läuft über die Straße.", "日本語のテキスト 東京", "Привет, мир! Как дела?", "l'été à Noël", "  x = 10 ** 12\t# no",
          "e\u0301te\u0301", "aaaa aaaaaaa abababab", "<|im_end|> is text here", "한국어 문장"]
failures = []


def corpus():
    lines = list(glosses())
    if GCIDE.exists():
        lines += gzip.open(GCIDE, "rt", encoding="utf-8", errors="replace").read().split("\n")
    for i, text in enumerate(OTHERS * 30):
        lines.insert(i * 100, text)
    return [line for line in lines if "\r" not in line]


def byte_level(pattern=None, digits=False):
    steps = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    steps += [pre_tokenizers.Split(Regex(pattern), "isolated")] if pattern else []
    return pre_tokenizers.Sequence(steps + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)])


O200K = "|".join([r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                  r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                  r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
WORDS = r"[\p{L}\p{M}]+|\p{N}|[^\s\p{L}\p{M}\p{N}]+|\s+"
# name: (arguments, pre-tokenizer, arguments of the trainer)
CASES = {
    "gpt2 1000": (["--vocab-size", "1000"], byte_level(), {}),
    "gpt2 8000 rare": (["--vocab-size", "8000", "--min-frequency", "0"], byte_level(), dict(min_frequency=0)),
    "gpt2 frequent only": (["--vocab-size", "30000", "--min-frequency", "200"], byte_level(), dict(min_frequency=200)),
    "smollm 4000": (["--vocab-size", "4000", "--pre-tokenizer", "smollm"], byte_level(digits=True), {}),
    "llama3 16000": (["--vocab-size", "16000", "--pre-tokenizer", "llama3"], byte_level(LLAMA3), {}),
    "cl100k 32000": (["--vocab-size", "32000", "--pre-tokenizer", "cl100k"], byte_level(LLAMA3), {}),
    "qwen2 5000": (["--vocab-size", "5000", "--pre-tokenizer", "qwen2", "--normalizer", "NFC"], byte_level(QWEN2), dict(normalizer=normalizers.NFC())),
    "o200k 6000": (["--vocab-size", "6000", "--pre-tokenizer", "o200k"], byte_level(O200K), {}),
    "pattern 3000": (["--vocab-size", "3000", "--split-pattern", WORDS], byte_level(WORDS), {}),
}
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SPECIAL_ARGUMENTS = [word for token in SPECIAL for word in ("--special-token", token)] + ["--eos-token", "<|im_end|>", "--pad-token", "<|endoftext|>"]


def theirs_bytes(lines, pre, vocab_size, min_frequency=2, normalizer=None):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre, decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=vocab_size, min_frequency=min_frequency, special_tokens=SPECIAL, show_progress=False,
                                                             initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def theirs_characters(lines, vocab_size, limit_alphabet):
    """Byte tokens are in the vocabulary as the trainer's special tokens, and no added tokens behind it."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    limit = {} if limit_alphabet is None else {"limit_alphabet": limit_alphabet}
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=vocab_size, min_frequency=2, show_progress=False, **limit,
                                                             special_tokens=SPECIAL + [f"<0x{byte:02X}>" for byte in range(256)]))
    return tokenizer


def ours(program, output, files, arguments):
    start = time.perf_counter()
    code, out, err = call([program, "tokenizer", "train", *files, "--output", output, *arguments, *SPECIAL_ARGUMENTS])
    return (None, err, 0) if code else (output / "tokenizer.json", out, time.perf_counter() - start)


def compare(name, path, text, reference, texts):
    if path is None:
        failures.append(name)
        return print(f"{name}: {text.strip()}")
    mine, wanted = (json.loads(t)["model"] for t in (path.read_text(), reference.to_str()))
    equal_vocab, equal_merges = mine["vocab"] == wanted["vocab"], mine["merges"] == wanted["merges"]
    first = next((i for i, (a, b) in enumerate(zip(mine["merges"], wanted["merges"])) if a != b), min(len(mine["merges"]), len(wanted["merges"])))
    loaded = Tokenizer.from_file(str(path))
    code, out, _ = call([program_path, "tokenize", path.parent], "".join(json.dumps({"text": t}) + "\n" for t in texts))
    rows = [json.loads(line)["ids"] for line in out.rstrip("\n").split("\n")] if code == 0 else []
    wrong_ids = sum(loaded.encode(t).ids != ids for t, ids in zip(texts, rows)) + len(texts) - len(rows)
    if not (equal_vocab and equal_merges) or wrong_ids:
        failures.append(name)
    print(f"{name}: {len(mine['merges'])} merges, {len(wanted['merges'])} of the reference, " +
          ("all equal" if equal_merges and equal_vocab else f"the first {first} equal: {mine['merges'][first:first + 2]} is not {wanted['merges'][first:first + 2]}") +
          f"; {len(texts) - wrong_ids} of {len(texts)} strings have the ids that the reference gives with our files", flush=True)


program_path = sys.argv[1]


def main():
    lines = corpus()
    texts = strings(4000, SPECIAL)
    times = []
    with tempfile.TemporaryDirectory(prefix="phalanx-tokenizer-train-") as folder:
        folder = pathlib.Path(folder)
        plain, packed, records = folder / "corpus.txt", folder / "corpus.txt.gz", folder / "corpus.jsonl.gz"
        with_ends = [line + "\n" for line in lines]
        plain.write_text("".join(with_ends), encoding="utf-8")
        packed.write_bytes(gzip.compress(plain.read_bytes(), 1))
        records.write_bytes(gzip.compress("".join(json.dumps({"text": line}) + "\n" for line in lines).encode(), 1))
        for i, (name, (arguments, pre, more)) in enumerate(CASES.items()):
            file, sequences = [(plain, with_ends), (packed, with_ends), (records, lines)][i % 3]
            path, text, seconds = ours(program_path, folder / f"case{i}", [file], arguments)
            start = time.perf_counter()
            reference = theirs_bytes(sequences, pre, int(arguments[1]), **more)
            times.append((seconds, time.perf_counter() - start))
            compare(name, path, text, reference, texts)
        for limit in (None, 74):  # not where two characters are as frequent: the reference then drops any of them
            name = f"sentencepiece 4000{'' if limit is None else f', alphabet of {limit}'}"
            arguments = ["--vocab-size", "4000", "--pre-tokenizer", "sentencepiece"] + ([] if limit is None else ["--limit-alphabet", str(limit)])
            path, text, _ = ours(program_path, folder / f"characters{limit}", [records], arguments)
            compare(name, path, text, theirs_characters(lines, 4000, limit), texts)
        size = plain.stat().st_size
    print(f"seconds on {size / 1e6:.1f} MB, ours and the reference's with {os.cpu_count()} threads: " + ", ".join(f"{a:.1f} {b:.1f}" for a, b in times))
    verdict("tokenizer training", not failures, "vocabularies and merges equal" if not failures else f"differ: {', '.join(failures)}")


if __name__ == "__main__":
    main()
