#!/usr/bin/env python3
"""Writes tokenizers.json: small tokenizers of every kind and what the reference libraries make of some texts.

Usage: make_tokenizer_golden.py      (in the environment of scripts/oracles.sh; needs /usr/share/wordnet)
"""
import base64
import importlib.metadata
import json
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "scripts/oracles"))
import sentencepiece  # noqa: E402
import tiktoken  # noqa: E402
import tokenizers_check as check  # noqa: E402

TEXTS = ["", " ", "hello world", "  two  spaces ", "The quick brown fox's 12 jumps, over 3.5 dogs!", "l'été à Noël — naïve", "日本語のテキスト 東京",
         "Привет, мир!", "emoji 😀👩‍🚀 end", "tab\tand\nnewline\r\n", "<s>special</s> <unk>", "Foo foo ünd Ünd < x > <x>  ", "of the of the",
         "ﬁ ½ ² Ⅷ ａｂｃ", "e\u0301 a\u0308 \u1e9b\u0323", "İstanbul STRASSE ΑΣ", "\u0000\ufffd\u200b\u00a0x", "aaaa ing the  thing", "▁under▁score", "x" * 120,
         "don't do not we 've I 'm . , !", "[CLS] [SEP] [UNK]", "\n\n\n", "한국어 문장", "<0x41> <0x0A>"]


def main():
    check.VOCABULARY = 340
    everything = check.corpus()
    check.corpus = lambda: everything[:300] + everything[-160:]
    cases, seen = [], {}
    for name, tokenizer in check.small_tokenizers():
        rows = []
        for text in TEXTS:
            ids = tokenizer.encode(text).ids
            rows.append([text, ids, tokenizer.decode(ids, skip_special_tokens=False)])
        parts = json.loads(tokenizer.to_str())
        model = parts.pop("model")
        first = seen.setdefault(json.dumps(model), name)  # the model is written once
        case = {"name": name, "file": "tokenizer.json", "parts": parts, "rows": rows}
        cases.append({**case, "model": model} if first == name else {**case, "model of": first})
    with tempfile.TemporaryDirectory() as folder:
        rules = pathlib.Path(folder) / "rules.tsv"  # a small charsmap: the default one has 240 KB
        rules.write_text("41\t61\n42\t62\nFB01\t66 69\n61 301\tE1\n65 301\tE9\n3000\t20\n9\t20\nA\t20\n200B\t\n")
        plain = {"normalization_rule_name": "identity"}
        symbols = {"user_defined_symbols": ["<mask>", "ing", "\u2581the", "  "], "control_symbols": ["<ctl>"]}
        variants = {"identity": {**plain, "remove_extra_whitespaces": False, "byte_fallback": True, "vocab_size": 600},
                    "symbols": {**plain, **symbols}, "suffix": {**plain, "treat_whitespace_as_suffix": True},
                    "rules": {"normalization_rule_tsv": str(rules)}}
        for name, path in check.sentencepiece_variants(pathlib.Path(folder), vocab_size=400, variants=variants):
            reference = sentencepiece.SentencePieceProcessor(model_file=str(path))
            control = ("<s>", "</s>", "<unk>", "<ctl>")
            rows = [[text, reference.encode(text), None] for text in TEXTS if not any(c in text for c in control)]
            cases.append({"name": name, "file": "tokenizer.model", "base64": base64.b64encode(path.read_bytes()).decode(), "rows": rows})
    pattern = r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ranks = [bytes([b]) for b in range(256)] + [b"th", b" t", b"he", b" th", b"the", b" the", b"ing", b"in", b"aa", b"aaa", b"  ", b"\xe6\x97", b"e's"]
    encoding = tiktoken.Encoding("tiny", pat_str=pattern, mergeable_ranks={r: i for i, r in enumerate(ranks)}, special_tokens={})
    tekken = {"config": {"pattern": pattern, "num_vocab_tokens": len(ranks), "default_vocab_size": 30 + len(ranks), "default_num_special_tokens": 30,
                         "version": "v3"},
              "vocab": [{"rank": i, "token_bytes": base64.b64encode(r).decode(), "token_str": None} for i, r in enumerate(ranks)]}
    rows = [[text, [1] + [30 + i for i in encoding.encode_ordinary(text)], None] for text in TEXTS if not any(c in text for c in ("<s>", "<unk>"))]
    cases.append({"name": "tekken", "file": "tekken.json", "content": json.dumps(tekken), "rows": rows})
    versions = {name: importlib.metadata.version(name) for name in ("tokenizers", "sentencepiece", "tiktoken")}
    out = {"made by": "make_tokenizer_golden.py", "versions": versions, "cases": cases}
    (HERE / "tokenizers.json").write_text(json.dumps(out, ensure_ascii=True, separators=(",", ":")) + "\n")


main()
