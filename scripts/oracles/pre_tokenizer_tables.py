#!/usr/bin/env python3
"""Writes src/data/pre_tokenizer_tables.cpp: what each code point is, in the eyes of Hugging Face tokenizers.

The library splits text with Oniguruma (its own Unicode version), matches added tokens with Rust's regex crate and finds
digits with Rust's standard library (two further versions); its NFC is of Unicode 10. Asking it about every code point is the only definition of
"the same as the reference". The second table holds what PCRE2 10.42 (Unicode 14, as this Python's unicodedata must be)
lacks of each general category, so that translated patterns agree on newer characters too.

Usage: pre_tokenizer_tables.py OUTPUT.cpp      (needs the package tokenizers, Python 3.11)
"""
import sys
import unicodedata

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

CATEGORIES = ["L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N", "Nd", "Nl", "No",
              "P", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl", "Zp"]
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
EVERYTHING = "".join(map(chr, CODE_POINTS))


def matched_by(pattern):
    """Code points matched by a one-character pattern: all that "removed" does not leave behind."""
    left = set()
    for _, (begin, end) in pre_tokenizers.Split(Regex(pattern), "removed").pre_tokenize_str(EVERYTHING):
        left.update(range(begin, end))
    return {c for i, c in enumerate(CODE_POINTS) if i not in left}


def pieces_of_a_c_a(pre_tokenizer):
    return {c: len(pre_tokenizer.pre_tokenize_str(f"a{chr(c)}a")) for c in CODE_POINTS}


def marks_unknown_to_nfc(marks):
    """Combining marks newer than the library's normalizer (Unicode 10): it neither reorders nor composes them."""
    nfc = normalizers.NFC().normalize_str
    moves = lambda text: nfc(text) != text
    unknown = {c for c in marks if not moves(f"a{chr(c)}\u0334") and not moves(f"a\u0327{chr(c)}")
               and (unicodedata.combining(chr(c)) > 0 or unicodedata.category(chr(c)) == "Cn")}
    for c in CODE_POINTS:
        parts = unicodedata.decomposition(chr(c)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            pair = "".join(chr(int(part, 16)) for part in parts)
            if unicodedata.normalize("NFC", pair) == chr(c) != nfc(pair):
                unknown.add(ord(pair[1]))
    return unknown


def ranges(code_points):
    out = []
    for c in sorted(code_points):
        if out and out[-1][1] == c:
            out[-1][1] = c + 1
        else:
            out.append([c, c + 1])
    return out


def table(rows, per_line_width=108):
    lines, line = [], " "
    for row in rows:
        if len(line) + len(row) + 2 > per_line_width:
            lines.append(line)
            line = " "
        line += f" {row},"
    return "\n".join(lines + [line])


def main():
    assert unicodedata.unidata_version == "14.0.0", "the supplement is relative to Unicode 14 (PCRE2 10.42)"
    letter, number, space = (matched_by(p) for p in (r"\p{L}", r"\p{N}", r"\s"))
    digit = {c for c, n in pieces_of_a_c_a(pre_tokenizers.Digits(individual_digits=True)).items() if n == 3}
    word = {c for c, n in pieces_of_a_c_a(pre_tokenizers.Whitespace()).items() if n == 1}

    unordered = marks_unknown_to_nfc(matched_by(r"\p{M}"))

    upper, lower = matched_by(r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"), matched_by(r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]")

    bits = {}
    for bit, members in ((1, letter), (2, number), (4, space), (8, digit), (16, word), (32, unordered), (64, upper), (128, lower)):
        for c in members:
            bits[c] = bits.get(c, 0) | bit
    rows = []
    for c in sorted(bits):
        if rows and rows[-1][1] == c and rows[-1][2] == bits[c]:
            rows[-1][1] = c + 1
        else:
            rows.append([c, c + 1, bits[c]])

    supplement = []
    for name in CATEGORIES:
        ours = {c for c in CODE_POINTS if unicodedata.category(chr(c)).startswith(name)}
        theirs = matched_by(r"\p{%s}" % name)
        if ours - theirs:
            print(f"note: {name}: Unicode 14 has {[hex(c) for c in sorted(ours - theirs)]}, the library not", file=sys.stderr)
        text = "".join(rf"\\x{{{b:x}}}" if e == b + 1 else rf"\\x{{{b:x}}}-\\x{{{e - 1:x}}}" for b, e in ranges(theirs - ours))
        supplement.append((name, text))

    with open(sys.argv[1], "w") as out:
        out.write(f"// Written by scripts/oracles/pre_tokenizer_tables.py with tokenizers {tokenizers.__version__}; do not edit.\n"
                  "// clang-format off\n"
                  '#include "data/pre_tokenizer_tables.h"\n\nnamespace phalanx::data {\n\n'
                  "const ClassRange kClassRanges[] = {\n")
        out.write(table(f"{{0x{b:X}, 0x{e:X}, {k}}}" for b, e, k in rows))
        out.write(f"\n}};\nconst size_t kNumClassRanges = {len(rows)};\n\nconst CategorySupplement kSupplements[] = {{\n")
        for name, text in supplement:
            pieces = text.replace("\\\\x", "\n\\\\x").split("\n")[1:] if text else []
            lines, line = [], ""
            for piece in pieces:
                if len(line) + len(piece) > 96 and not line.endswith("-"):
                    lines.append(line)
                    line = ""
                line += piece
            lines.append(line)
            out.write(f'  {{"{name}",' + "".join(f'\n   "{x}"' for x in lines if x) + ('""' if not text else "") + "},\n")
        out.write(f"}};\nconst size_t kNumSupplements = {len(supplement)};\n\n}}  // namespace phalanx::data\n")


if __name__ == "__main__":
    main()
