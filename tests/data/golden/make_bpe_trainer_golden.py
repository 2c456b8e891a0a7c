"""Writes tests/data/golden/bpe_trainer.json: what Hugging Face tokenizers' BpeTrainer learns from small corpora.

Usage: make_bpe_trainer_golden.py OUTPUT      (needs the package tokenizers 0.23)
Among them ties, overlaps ("aaaa"), one token that two merges make, a special token that merges make, characters left out.
"""
import json
import random
import sys

import tokenizers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

rng = random.Random(3)
CORPORA = {
    "words": ["the theory of the thin things", "there then the other", "gather them together, the three!"] * 3,
    "ties": ["ab cd ef gh", "ab cd ef gh", "ba dc fe hg", "ba dc fe hg"],
    "overlaps": ["a aa aaa aaaa aaaaa aaaaaa", "abababab ababa bababa", "aaaabaaaab"],
    "two ways": ["".join(rng.choice("abc") for _ in range(rng.randint(1, 9))) for _ in range(400)],
    "scripts": ["日本語 日本 本語", "Привет, мир! Привет", "été été e\u0301te\u0301", "😀😀 😀", "x\t\ty\n\n"] * 2,
    "numbers": ["12 123 1234 12345", "3.14 3,14 314", "  12  12"] * 2,
}
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_level(lines, vocab_size, min_frequency, special):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=vocab_size, min_frequency=min_frequency, special_tokens=special, show_progress=False,
                                                             initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def characters(lines, vocab_size, min_frequency, special):
    tokenizer = Tokenizer(models.BPE(byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=vocab_size, min_frequency=min_frequency, special_tokens=special + BYTES, show_progress=False))
    return tokenizer


def main():
    cases = []
    for name, lines in CORPORA.items():
        for pre, train in (("gpt2", byte_level), ("sentencepiece", characters)):
            for size, frequency, special in ((300, 2, []), (320, 0, ["the", "<s>"]), (600, 3, ["<s>", "ab", "aa"])):
                model = json.loads(train(lines, size, frequency, special).to_str())["model"]
                cases.append({"corpus": name, "pre_tokenizer": pre, "vocab_size": size, "min_frequency": frequency, "special_tokens": special,
                              "num_tokens": len(model["vocab"]), "merges": [" ".join(m) for m in model["merges"]]})
    json.dump({"made by": f"make_bpe_trainer_golden.py, tokenizers {tokenizers.__version__}", "corpora": CORPORA,
               "cases": cases}, open(sys.argv[1], "w"), ensure_ascii=False, indent=0)


if __name__ == "__main__":
    main()
