#!/usr/bin/env python3
"""Writes src/data/normalizer_tables.cpp: what the normalizers of Hugging Face tokenizers do to each code point.

The library's tables are of several Unicode versions (accents, punctuation, control characters, case, normal forms); asking
it about every code point is the only definition of "the same as the reference". Case and compatibility forms are written
as differences from Unicode 14, which utf8proc 2.8 has, as this Python's unicodedata must.

Usage: normalizer_tables.py OUTPUT.cpp      (needs the package tokenizers, Python 3.11)
"""
import sys
import unicodedata

import tokenizers
from tokenizers import normalizers, pre_tokenizers

from pre_tokenizer_tables import ranges, table

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def results(normalizer):
    return {c: normalizer.normalize_str(f"x{chr(c)}x")[1:-1] for c in CODE_POINTS}


def bert(**on):
    options = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
    return results(normalizers.BertNormalizer(**{**options, **on}))


def main():
    assert unicodedata.unidata_version == "14.0.0", "differences are relative to Unicode 14 (utf8proc 2.8)"
    removed = lambda table: {c for c, text in table.items() if text == ""}
    clean, chinese, lower = bert(clean_text=True), bert(handle_chinese_chars=True), results(normalizers.Lowercase())
    nfkd = results(normalizers.NFKD())
    sets = {
        "Accents": ("removed by StripAccents", removed(results(normalizers.StripAccents()))),
        "BertAccents": ("removed by BertNormalizer with strip_accents, after NFD", removed(bert(strip_accents=True))),
        "BertControls": ("removed by BertNormalizer with clean_text", removed(clean)),
        "BertSpaces": ("made a space by clean_text", {c for c, text in clean.items() if text == " " and c != 0x20}),
        "BertChinese": ("set between spaces by handle_chinese_chars", {c for c, text in chinese.items() if len(text) == 3}),
        "Punctuation": ("split off by Punctuation and BertPreTokenizer",
                        {c for c in CODE_POINTS if len(pre_tokenizers.Punctuation().pre_tokenize_str(f"a{chr(c)}a")) == 3}),
        "Undecomposed": ("decompose in Unicode 14, but not in the library's normal forms",
                         {c for c in CODE_POINTS if nfkd[c] == chr(c) != unicodedata.normalize("NFKD", chr(c))}),
    }
    odd = {c for c in CODE_POINTS if nfkd[c] not in (chr(c), unicodedata.normalize("NFKD", chr(c)))}
    assert not odd, f"NFKD differs otherwise: {[hex(c) for c in odd]}"
    cases = [(c, text) for c, text in lower.items() if text != chr(c).lower() or len(text) != 1]
    with open(sys.argv[1], "w") as out:
        out.write(f"// Written by scripts/oracles/normalizer_tables.py with tokenizers {tokenizers.__version__}; do not edit.\n"
                  '// clang-format off\n#include "data/normalizer_tables.h"\n\nnamespace phalanx::data {\n\nnamespace {\n')
        for name, (meaning, members) in sets.items():
            out.write(f"\n// {meaning}\nconstexpr CodeRange k{name}Ranges[] = {{\n"
                      + table(f"{{0x{b:X}, 0x{e:X}}}" for b, e in ranges(members)) + "\n};\n")
        out.write("\nconstexpr LowerCase kLowerCaseItems[] = {\n"
                  + table("{0x%X, \"%s\"}" % (c, "".join(f"\\x{b:02x}" for b in text.encode())) for c, text in cases)
                  + "\n};\n\n}  // namespace\n\n")
        for name in sets:
            out.write(f"const std::span<const CodeRange> k{name} = k{name}Ranges;\n")
        out.write("const std::span<const LowerCase> kLowerCases = kLowerCaseItems;\n\n}  // namespace phalanx::data\n")


main()
