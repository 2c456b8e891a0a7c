#!/usr/bin/env python3
"""Turns WordNet 3.0 (Debian: wordnet-base) into a chat data set: one question for a definition per synset.

usage: wordnet_chat.py OUT_FOLDER [--wordnet /usr/share/wordnet] [--limit N]
writes train.jsonl and eval.jsonl ({"messages": [user, assistant]}); every 50th synset is held out. The order is a fixed
shuffle (by a hash of the synset's offset), so the first N records are a fair sample of all parts of speech.
"""
import argparse
import hashlib
import json
import pathlib

PARTS = {"noun": "noun", "verb": "verb", "adj": "adjective", "adv": "adverb"}


def synsets(folder):
    """(key, word, part of speech, gloss without examples) of every synset."""
    for suffix, part in PARTS.items():
        for line in (folder / f"data.{suffix}").read_text(encoding="utf-8").splitlines():
            if line.startswith(" "):  # the licence
                continue
            fields, _, gloss = line.partition(" | ")
            offset, _, _, _, word = fields.split(" ")[:5]
            word = word.split("(")[0].replace("_", " ")
            definition = gloss.split('; "')[0].strip().rstrip(";")
            if definition:
                yield f"{suffix}{offset}", word, part, definition


def record(word, part, definition):
    return {"messages": [
        {"role": "user", "content": f"Define the {part} \"{word}\"."},
        {"role": "assistant", "content": f"{word} ({part}): {definition}."},
    ]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--wordnet", type=pathlib.Path, default=pathlib.Path("/usr/share/wordnet"))
    parser.add_argument("--limit", type=int, default=0, help="synsets in all; 0: every one")
    arguments = parser.parse_args()
    rows = sorted(synsets(arguments.wordnet), key=lambda row: hashlib.sha256(row[0].encode()).digest())
    if arguments.limit:
        rows = rows[:arguments.limit]
    arguments.out.mkdir(parents=True, exist_ok=True)
    counts = {}
    for name, chosen in (("train", [r for i, r in enumerate(rows) if i % 50]), ("eval", rows[::50])):
        with open(arguments.out / f"{name}.jsonl", "w", encoding="utf-8") as file:
            for _, word, part, definition in chosen:
                file.write(json.dumps(record(word, part, definition), ensure_ascii=False) + "\n")
        counts[name] = len(chosen)
    print(f"{arguments.out}: {counts['train']} training and {counts['eval']} held-out records")


if __name__ == "__main__":
    main()
