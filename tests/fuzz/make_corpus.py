"""Writes the first inputs of the fuzz targets (tests/fuzz/corpus/NAME/seed-*); what fuzzers found stands beside them as found-*.
Python 3 alone; the zstd frame was made once by zstd 1.5 and is kept as hexadecimal digits."""
import base64
import gzip
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
GOLDEN = HERE.parent


def seed(target, name, content):
    path = HERE / "corpus" / target / f"seed-{name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def as_json(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


# --- weights -------------------------------------------------------------------------------------------------
def gguf_text(text):
    text = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(text)) + text


def gguf_value(value):
    """(type, bytes) of a value; tuples are (type number, values) of an array."""
    if isinstance(value, bool):
        return 7, struct.pack("<B", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, str):
        return 8, gguf_text(value)
    kind, items = value
    parts = [gguf_text(i) if kind == 8 else struct.pack({5: "<i", 6: "<f"}[kind], i) for i in items]
    return 9, struct.pack("<IQ", kind, len(items)) + b"".join(parts)


def gguf(pairs, tensors):
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs))
    for key, value in pairs.items():
        kind, content = gguf_value(value)
        head += gguf_text(key) + struct.pack("<I", kind) + content
    offset, data = 0, b""
    for name, (kind, dims, size) in tensors.items():
        head += gguf_text(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims)
        head += struct.pack("<IQ", kind, offset)
        padded = (size + 31) // 32 * 32
        data += bytes((i * 37) % 251 for i in range(size)) + b"\0" * (padded - size)
        offset += padded
    return head + b"\0" * (-len(head) % 32) + data


def byte_alphabet():
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, more = {}, 0
    for byte in range(256):
        if byte in kept:
            table[byte] = chr(byte)
        else:
            table[byte] = chr(256 + more)
            more += 1
    return table


LLAMA = {"general.architecture": "llama", "llama.block_count": 1, "llama.context_length": 64,
         "llama.embedding_length": 4, "llama.feed_forward_length": 8, "llama.attention.head_count": 2,
         "llama.attention.head_count_kv": 1, "llama.attention.layer_norm_rms_epsilon": 1e-5,
         "llama.rope.dimension_count": 2, "llama.rope.freq_base": 10000.0, "llama.vocab_size": 6}
SPM = {"tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default",
       "tokenizer.ggml.tokens": (8, ["<unk>", "<s>", "</s>", "\u2581a", "a", "\u2581"]),
       "tokenizer.ggml.scores": (6, [0.0, 0.0, 0.0, -1.0, -2.0, -3.0]),
       "tokenizer.ggml.token_type": (5, [2, 3, 3, 1, 1, 1]), "tokenizer.ggml.bos_token_id": 1,
       "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.add_bos_token": True}
TENSORS = {"token_embd.weight": (0, [4, 6], 96), "output_norm.weight": (0, [4], 16),
           "blk.0.attn_q.weight": (1, [4, 4], 32), "blk.0.attn_k.weight": (1, [4, 2], 16),
           "blk.0.ffn_up.weight": (30, [4, 8], 64)}

seed("safetensors", "tiny", (GOLDEN / "formats/golden/tiny.safetensors").read_bytes())
header = as_json({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "b": {"dtype": "BF16", "shape": [1, 4], "data_offsets": [8, 16]}})
seed("safetensors", "two", struct.pack("<Q", len(header)) + header.encode() + bytes(16))
seed("gguf", "tiny", (GOLDEN / "formats/golden/tiny.gguf").read_bytes())
seed("gguf", "shard", (GOLDEN / "formats/golden/shards-00002-of-00003.gguf").read_bytes())
seed("gguf", "llama", gguf(LLAMA | SPM, TENSORS))
blocks = {f"b{kind}": (kind, [32], size) for kind, size in {2: 18, 3: 20, 6: 22, 7: 24, 8: 34}.items()}
blocks |= {f"k{kind}": (kind, [256], size) for kind, size in {12: 144, 13: 176, 14: 210}.items()}
seed("gguf", "blocks", gguf({"general.architecture": "llama", "x": (6, [1.0, float("nan")])}, blocks))
letters = byte_alphabet()
seed("gguf", "bytes", gguf({"general.architecture": "llama", "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "llama-bpe",
     "tokenizer.ggml.tokens": (8, [*letters.values(), "th", "the", "<|im_end|>"]), "tokenizer.ggml.token_type": (5, [1] * 258 + [3]),
     "tokenizer.ggml.merges": (8, ["t h", "th e"]), "tokenizer.ggml.eos_token_id": 258}, {}))


# --- tokenizers ----------------------------------------------------------------------------------------------
def tokenizer(model, **parts):
    whole = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
             "pre_tokenizer": None, "post_processor": None, "decoder": None}
    return as_json(whole | parts | {"model": model})


def added(id_, content, **flags):
    return {"id": id_, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": True} | flags


def vocab(tokens):
    return {token: i for i, token in enumerate(tokens)}


BPE = {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
       "fuse_unk": True, "byte_fallback": False, "ignore_merges": False,
       "vocab": vocab(["<unk>", "<s>", "\u2581", "t", "h", "e", "th", "the", "\u2581the"]),
       "merges": [["t", "h"], ["th", "e"], ["\u2581", "the"]]}
seed("tokenizer_json", "bpe", tokenizer(
    BPE, added_tokens=[added(0, "<unk>"), added(1, "<s>", lstrip=True)],
    normalizer={"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
    post_processor={"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                    "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
    decoder={"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
             {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}))
seed("tokenizer_json", "bytes", tokenizer(
    BPE | {"unk_token": None, "fuse_unk": False, "vocab": vocab([*letters.values(), "th", "the"]), "merges": ["t h", "th e"]},
    added_tokens=[added(258, "<|im_end|>")],
    pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True},
                   {"type": "Split", "pattern": {"Regex": "\\s+(?!\\S)|\\p{L}+"}, "behavior": "Isolated", "invert": False},
                   {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]},
    post_processor={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}, decoder={"type": "ByteLevel"}))
seed("tokenizer_json", "unigram", tokenizer(
    {"type": "Unigram", "unk_id": 0, "byte_fallback": False, "vocab": [["<unk>", 0], ["\u2581", -2.5], ["\u2581the", -3], ["e", -4], ["t", -4.5]]},
    normalizer={"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]},
    pre_tokenizer={"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
    decoder={"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}))
seed("tokenizer_json", "wordpiece", tokenizer(
    {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
     "vocab": vocab(["[UNK]", "[CLS]", "[SEP]", "the", "qu", "##ick", "##s", "1"])},
    added_tokens=[added(0, "[UNK]"), added(3, "the", normalized=True, single_word=True, special=False)],
    normalizer={"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
    pre_tokenizer={"type": "BertPreTokenizer"}, post_processor={"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]},
    decoder={"type": "WordPiece", "prefix": "##", "cleanup": True}))
doubles = [{"type": "Replace", "pattern": {"String": "e"}, "content": "ee"}] * 40
seed("tokenizer_json", "doubling", tokenizer(BPE, normalizer={"type": "Sequence", "normalizers": doubles}))
seed("tokenizer_json", "doubling_bytes", tokenizer(BPE, pre_tokenizer={"type": "Sequence", "pretokenizers": [
    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}] * 40}))
seed("tokenizer_json", "doubling_tokens", tokenizer(BPE, decoder={"type": "Sequence", "decoders": doubles}))


def field(number, content):
    if isinstance(content, int):
        return bytes([number << 3 & 0x7F | (0x80 if number > 15 else 0)]) + (bytes([number >> 4]) if number > 15 else b"") + bytes([content])
    if isinstance(content, float):
        return bytes([number << 3 | 5]) + struct.pack("<f", content)
    content = content if isinstance(content, bytes) else content.encode()
    return bytes([number << 3 | 2, len(content)]) + content


def sentencepiece(model_type, byte_fallback=0):
    pieces = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), ("<|u|>", 0.0, 4), ("\u2581the", -1.0, 1), ("\u2581", -2.0, 1),
              ("th", -3.0, 1), ("t", -4.0, 1), ("h", -5.0, 1), ("e", -6.0, 1)]
    model = b"".join(field(1, field(1, p) + field(2, s) + (field(3, t) if t != 1 else b"")) for p, s, t in pieces)
    model += field(2, field(3, model_type) + field(35, byte_fallback) + field(40, 0) + field(41, 1) + field(42, 2))
    return model + field(3, field(1, "identity") + field(3, 1) + field(4, 1) + field(5, 1))


seed("sentencepiece", "unigram", sentencepiece(1))
seed("sentencepiece", "bpe", sentencepiece(2))
seed("tiktoken", "lines", "".join(f"{base64.b64encode(bytes([i])).decode()} {i}\n" for i in range(8)) + "dGhl 8\r\n")
ranks = [bytes([i]) for i in range(256)] + [b"th", b"the"]
seed("tekken", "bytes", as_json({"config": {"pattern": "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s+",
     "num_vocab_tokens": 258, "default_vocab_size": 260, "default_num_special_tokens": 2, "version": "v3"},
     "vocab": [{"rank": i, "token_bytes": base64.b64encode(t).decode()} for i, t in enumerate(ranks)]}))
seed("tokenizer_config", "v4", as_json({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "add_bos_token": True,
     "eos_token": {"__type": "AddedToken", "content": "</s>", "lstrip": False}, "model_max_length": 1e30,
     "added_tokens_decoder": {"0": {"content": "<s>", "special": True}}, "chat_template": [{"name": "default", "template": "{{ 1 }}"}]}))
seed("tokenizer_config", "v5", as_json({"backend": "tokenizers", "eos_token": "<|im_end|>", "pad_token": None, "eos_token_id": [1, 3],
     "extra_special_tokens": ["<|im_end|>"], "chat_template": "{{ messages[0].content }}"}))

# --- templates -----------------------------------------------------------------------------------------------
for path in sorted((GOLDEN / "data/golden").glob("*.jinja")):
    seed("chat_template", path.stem, path.read_bytes())
seed("chat_template", "language", "{%- macro m(a, b=1) -%}{{ a|upper ~ b }}{%- endmacro -%}{% set ns = namespace(x=0) %}"
     "{% for k, v in {'a': [1, 2.5], 'b': none}.items() if loop is not defined %}{% set ns.x = ns.x + loop.index %}{{ m(k, v|tojson(indent=2)) }}"
     "{% else %}no{% endfor %}{{ ns.x if ns.x is number else raise_exception('x') }}{{ messages[1:][::-1]|map(attribute='role')|join(', ') }}"
     "{{ 'a b'.split()[-1].strip('b')|length // 2 ** 3 % 4 - -1 }}{# no #}{% filter trim %} x {% endfilter %}{{ strftime_now('%d %b') }}"
     "{% for i in range(3) %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}{{ [1, 2]|sum in (3, 4) and not false }}")

# --- settings ------------------------------------------------------------------------------------------------
seed("expression", "classic", "8 / (3 - 8 / 3)")
seed("expression", "unicode", "2 \u00d7 6 \u00f7 4 \u2212 5 = 3")
seed("http_answer", "length", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
seed("http_answer", "chunks", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\nX: y\r\n\r\n")
seed("http_answer", "to_the_end", "HTTP/1.0 429 Wait\r\nRetry-After: 3\r\n\r\nlater")
seed("run_config", "small", "run:\n  seed: 7\ndata:\n  train:\n    - path: a.jsonl  # first\n      weight: 0.5\n    - {path: \"b.jsonl\", format: auto}\n"
     "  sequence_length: 2e3\n  packing: true\n  loss_on: 'last_turn'\n")
seed("run_config", "styles", "# only comments\n---\ndata: {train: [{path: x, weight: .5}], shuffle: false,\n  max_bad_records: 0x10}\nrun:\n  output_dir: |\n    a\n  seed: -1\n")
for version in ("v4", "v5"):
    seed("hf_config", version, (GOLDEN / f"formats/golden/config_{version}.json").read_bytes())
seed("hf_config", "layers", as_json({"model_type": "gemma3_text", "torch_dtype": "bfloat16", "rope_parameters": {"full_attention": {"rope_type": "linear",
     "factor": 8.0, "rope_theta": 1e6}, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}, "layer_types": ["sliding_attention"]}))
seed("hf_config", "llama3", as_json({"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
     "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}))
seed("hf_config", "generation", as_json({"bos_token_id": 1, "eos_token_id": [2, 3], "pad_token_id": None, "do_sample": True, "temperature": 0.6,
     "top_k": 50, "top_p": 0.95, "min_p": 0.05, "repetition_penalty": 1.1}))
seed("adapter_config", "peft", (GOLDEN / "formats/golden/adapter_config.json").read_bytes())
seed("adapter_config", "patterns", as_json({"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "use_rslora": True,
     "target_modules": "model\\.layers\\.\\d+\\.(self_attn\\.[qkv]|mlp\\.up)_proj", "rank_pattern": {"q_proj": 2, "^model.layers.1.*": 3},
     "alpha_pattern": {"q_proj": 1.5}}))
seed("adapter_config", "name", "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight")

# --- JSON and records ----------------------------------------------------------------------------------------
seed("json", "values", '{"a":[1,-0,2.5e-3,1e308,18446744073709551615,-9223372036854775808],"\\u00e9\\ud83d\\ude00":"\\"\\\\\\/\\b\\f\\n\\r\\t","b":{"c":[null,true,false,[],{}]}}')
seed("json", "spaces", " \n\t[ 1 , \"caf\u00e9\" ]\r\n")
RECORDS = [
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}], "tools": "[]"},
    {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "tool_calls": [{"type": "function",
     "function": {"name": "f", "arguments": "{\"a\": 1}"}}]}, {"role": "tool", "content": "1"}, {"role": "assistant", "content": "y", "weight": 0}]},
    {"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {}}"}, {"from": "gpt", "value": "b"}], "system": "s"},
    {"instruction": "a", "input": "b", "output": "c", "history": [["d", "e"]]},
    {"prompt": "a", "completion": " b"},
    {"prompt": "a", "chosen": " b", "rejected": " c"},
    {"chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "rejected": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "c"}]},
    {"prompt": "a", "completion": " b", "label": True},
    {"prompt": "a", "completions": ["b", "c"], "labels": [True, False]},
    {"input_ids": [1, 2, 3], "labels": [-100, 2, 3], "attention_mask": [0, 1, 1]},
    {"text": "plain \u2028 text"},
    {"prompt": [{"role": "user", "content": "1+1?"}], "reward_model": {"style": "rule", "ground_truth": "2"}, "data_source": "sums", "extra_info": {"index": 0}},
]
for i in range(0, len(RECORDS), 3):
    seed("json_lines", f"records-{i}", "".join(as_json(r) + ("\r\n" if i else "\n") for r in RECORDS[i:i + 3]))
seed("json_lines", "bad", "\ufeff\n{\"text\":1}\n{\"text\":\"a\"\n[]\n\n{\"text\":\"b\",\"text\":\"c\"}\nnull")
seed("json_array", "records", "[\n " + ",\n ".join(as_json(r) for r in RECORDS[3:8]) + "\n]\n")
seed("json_array", "lines", "".join(as_json(r) + "\n" for r in RECORDS[4:6]))
seed("csv", "pairs", "prompt,completion,label\r\n\"a, \"\"b\"\"\n\",c,true\r\n\r\nd,e,0\n")
seed("csv", "text", "text\nplain\n\"two\nlines\"\n")
PLAIN = b"A first document.\nSecond line.\n\n  Indented one.\n\xe2\x80\xa8\n" * 3
seed("packed_text", "plain", PLAIN)
seed("packed_text", "gzip", gzip.compress(PLAIN, mtime=0) + gzip.compress(b"more\n", mtime=0))
seed("packed_text", "zstd", bytes.fromhex("28b52ffd209ce5010044034120666972737420646f63756d656e742e0a5365636f6e64206c696e652e0a0a2020496e64656e746564206f6e652e0ae280a80a0100546eaaa0"))

# --- checkpoints and caches ----------------------------------------------------------------------------------
ZERO = "0" * 32
seed("manifest", "small", '{\n"format": "phalanx-checkpoint",\n"version": 1,\n"step": 3,\n"incarnation": 1,\n"num_ranks": 1,\n"environment": {},\n'
     '"scalars": {"lr": 0.5},\n"block_bytes": 1048576,\n"files": [\n' + as_json({"name": "a.h5", "bytes": 64, "digest": "e5189a9599e3f86205ea23ef06e28b2d", "block_digests": ZERO})
     + '\n],\n"tensors": [\n' + as_json({"name": "w", "dtype": "F32", "shape": [2, 2], "pieces": [{"offset": [0, 0], "shape": [2, 2], "file": "a.h5",
       "byte": 16, "digest": ZERO}]}) + '\n],\n')
seed("manifest", "empty", '{\n"format": "phalanx-checkpoint",\n"version": 1,\n"step": 0,\n"incarnation": 1,\n"num_ranks": 1,\n"environment": {},\n'
     '"scalars": {},\n"block_bytes": 1048576,\n"files": [],\n"tensors": [],\n')


def token_set(ids, segments, row_begin, source_begin, report):
    parts = [struct.pack(f"<{len(ids)}i", *ids), bytes(i % 2 for i in range(len(ids))),
             b"".join(struct.pack("<QIIq", *s) for s in segments), struct.pack(f"<{len(row_begin)}Q", *row_begin),
             struct.pack(f"<{len(source_begin)}Q", *source_begin), report.encode()]
    out = b"PHXTOKEN" + struct.pack("<8Q", 4, 0, 0, len(ids), len(segments), len(row_begin) - 1, len(source_begin) - 1, len(report))
    for part in parts:
        out += b"\0" * (-len(out) % 64) + part
    return out


seed("token_set", "two-rows", token_set([1, 2, 3, 4, 5], [(0, 3, 0, 0), (3, 2, 0, 1)], [0, 1, 2], [0, 2], '{"records":2}'))
