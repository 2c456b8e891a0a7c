#!/usr/bin/env python3
"""Turns WordNet 3.0 (Debian: wordnet-base) into preferences: the sense that a word has in a sentence over another one it has.

usage: wordnet_preferences.py OUT_FOLDER [--wordnet /usr/share/wordnet] [--limit N]
writes pairs_train.jsonl and pairs_eval.jsonl ({"prompt": [user], "chosen": [assistant], "rejected": [assistant]}), and the same
answers one by one as unpaired_train.jsonl ({"prompt", "completion", "label"}). The sentences are WordNet's own examples. Words
are held out, not sentences: every 20th word is in pairs_eval alone. The order is a fixed shuffle, as in wordnet_chat.py.
"""
import argparse
import hashlib
import json
import pathlib
import re

from wordnet_chat import PARTS

EVERY = 20  # one word of so many is held out


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def synsets(folder, suffix):
    """(offset, words, definition, examples) of every synset of one part of speech."""
    for line in (folder / f"data.{suffix}").read_text(encoding="utf-8").splitlines():
        if line.startswith(" "):  # the licence
            continue
        fields, _, gloss = line.partition(" | ")
        fields = fields.split(" ")
        words = [fields[4 + 2 * i].split("(")[0].replace("_", " ") for i in range(int(fields[3], 16))]
        definition = gloss.split('; "')[0].strip().rstrip(";")
        yield fields[0], words, definition, re.findall(r'"([^"]{15,160})"', gloss)


def preferences(folder):
    """(word, part of speech, sentence, its definition, another one) for each word that an example has and that has more senses."""
    for suffix, part in PARTS.items():
        senses, uses = {}, []
        for offset, words, definition, examples in synsets(folder, suffix):
            for word in words:
                senses.setdefault(word.lower(), []).append((offset, definition))
            uses += [(offset, word, definition, sentence) for word in words for sentence in examples
                     if re.search(rf"\b{re.escape(word)}\b", sentence, re.IGNORECASE)]
        for offset, word, definition, sentence in uses:
            others = [other for key, other in senses[word.lower()] if key != offset and other != definition]
            if definition and others:
                yield word, part, sentence, definition, min(others, key=lambda other: digest(sentence + other))


def record(word, part, sentence, right, wrong):
    answer = lambda definition: [{"role": "assistant", "content": f"{word} ({part}): {definition}."}]
    return {"prompt": [{"role": "user", "content": f"What does the {part} \"{word}\" mean in \"{sentence}\"?"}],
            "chosen": answer(right), "rejected": answer(wrong)}


def write(path, rows):
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--wordnet", type=pathlib.Path, default=pathlib.Path("/usr/share/wordnet"))
    parser.add_argument("--limit", type=int, default=0, help="pairs in all; 0: every one")
    arguments = parser.parse_args()
    found = sorted(preferences(arguments.wordnet), key=lambda row: digest(row[0] + row[2]))
    found = found[:arguments.limit] if arguments.limit else found
    held_out = lambda row: int(digest(row[0].lower()), 16) % EVERY == 0
    train, heldout = ([record(*row) for row in found if held_out(row) is chosen] for chosen in (False, True))
    arguments.out.mkdir(parents=True, exist_ok=True)
    write(arguments.out / "pairs_train.jsonl", train)
    write(arguments.out / "pairs_eval.jsonl", heldout)
    write(arguments.out / "unpaired_train.jsonl",
          ({"prompt": row["prompt"], "completion": row["chosen" if i % 2 else "rejected"], "label": bool(i % 2)} for i, row in enumerate(train)))
    print(f"{arguments.out}: {len(train)} training and {len(heldout)} held-out pairs")


if __name__ == "__main__":
    main()
