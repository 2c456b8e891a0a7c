#!/usr/bin/env python3
"""Turns relations of WordNet 3.0 (Debian: wordnet-base) into questions with one right answer out of four, for
reinforcement learning with the verifier `exact_match`.

usage: wordnet_relations.py OUT_FOLDER [--wordnet /usr/share/wordnet] [--limit N]
writes relations_train.jsonl and relations_eval.jsonl ({"prompt": [user], "ground_truth", "relation"}); every 20th synset
is held out, and none of its questions is trained on. Order and choices are fixed by hashes.
"""
import argparse
import hashlib
import json
import pathlib

# Pointer symbol -> what is asked. Part of speech and all words are those of the first synset.
QUESTIONS = {
    "@": ("hypernym", "Which of these is \"{word}\" a kind of"),
    "#p": ("holonym", "Which of these is \"{word}\" a part of"),
    "!": ("antonym", "Which of these is the opposite of \"{word}\""),
}


def draw(*key):
    """A number that depends on the key alone."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, key)).encode()).digest()[:8], "big")


def plain(word):
    return word.split("(")[0].replace("_", " ")


def synsets(folder):
    """id -> (words, [(symbol, id, place of the source word, place of the target word)]); place 0: all words."""
    found = {}
    for suffix, part in (("noun", "n"), ("verb", "v"), ("adj", "a"), ("adv", "r")):
        for line in (folder / f"data.{suffix}").read_text(encoding="utf-8").splitlines():
            if line.startswith(" "):  # the licence
                continue
            fields = line.partition(" | ")[0].split()
            count = int(fields[3], 16)
            words = [plain(word) for word in fields[4:4 + 2 * count:2]]
            pointers, at = [], 5 + 2 * count
            for _ in range(int(fields[4 + 2 * count])):
                symbol, offset, target_part, places = fields[at:at + 4]
                pointers.append((symbol, target_part.replace("s", "a") + offset, int(places[:2], 16), int(places[2:], 16)))
                at += 4
            found[part + fields[0]] = (words, pointers)
    return found


def relations(all_synsets):
    """(id, symbol, word, right answers)"""
    for name, (words, pointers) in all_synsets.items():
        for symbol in QUESTIONS:
            right, word = [], words[0]
            for pointer, target, source_place, target_place in pointers:
                if pointer != symbol or target not in all_synsets:
                    continue
                if source_place > 1:
                    continue
                targets = all_synsets[target][0]
                right += targets[target_place - 1:target_place] if target_place else targets
            right = [answer for answer in right if answer.lower() not in word.lower() and word.lower() not in answer.lower()]
            if right:
                yield name, symbol, word, right


def record(name, symbol, word, right, pool):
    answer, choices = right[0], []
    number = 0
    while len(choices) < 3:
        other = pool[draw(name, symbol, number) % len(pool)]
        number += 1
        if other not in choices and other not in right and other != word:
            choices.append(other)
    choices.insert(draw(name, symbol, "place") % 4, answer)
    relation, question = QUESTIONS[symbol]
    text = f"{question.format(word=word)}: {', '.join(choices)}? Answer with one of them alone."
    return {"prompt": [{"role": "user", "content": text}], "ground_truth": answer, "relation": relation}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--wordnet", type=pathlib.Path, default=pathlib.Path("/usr/share/wordnet"))
    parser.add_argument("--limit", type=int, default=20000, help="questions in all; 0: every one")
    arguments = parser.parse_args()
    rows = sorted(relations(synsets(arguments.wordnet)), key=lambda row: (draw(row[0]), row[1]))
    pools = {}  # by relation and part of speech
    for synset, symbol, _, right in rows:
        pools.setdefault((symbol, synset[0]), set()).add(right[0])
    pools = {key: sorted(words) for key, words in pools.items()}
    if arguments.limit:
        rows = rows[:arguments.limit]
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, is_eval in (("train", False), ("eval", True)):
        chosen = [row for row in rows if (draw(row[0], "split") % 20 == 0) == is_eval]
        with open(arguments.out / f"relations_{name}.jsonl", "w", encoding="utf-8") as file:
            for synset, symbol, word, right in chosen:
                file.write(json.dumps(record(synset, symbol, word, right, pools[symbol, synset[0]]), ensure_ascii=False) + "\n")
        print(f"{arguments.out}/relations_{name}.jsonl: {len(chosen)} questions")


if __name__ == "__main__":
    main()
