#!/usr/bin/env python3
"""`phalanx label` as people use it: its page in a headless Chromium, by keyboard.

usage: label_page.py PHALANX [--screenshots FOLDER]

Two labellers answer 20 pairs each; the program is killed (SIGKILL) in the middle of either, once between two answers and once while one
is on its way. Then: every answer that the page confirmed is there once, the rows are what was chosen, Cohen's kappa is that of the
formula, undo and edit, a token, a full disk, an end by SIGINT. Exits 77 where Chromium is missing.
"""
import argparse
import collections
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import chromium

CODE = '''Use a set to remember what was seen:

```python
def unique(items):
    seen = set()
    return [x for x in items if not (x in seen or seen.add(x))]
```

It runs in `O(n)` and keeps the **first** of equal items.'''
CODE_POOR = '''You can write

```python
list(set(items))
```

which is short, but it does not keep the order.'''
SKY = ("Sunlight is a mixture of all colours. On its way through the air it meets molecules that are much smaller than its wavelength, and these scatter short "
       "waves far more than long ones: the strength grows with the inverse fourth power of the wavelength, so that blue light is scattered about four times as "
       "much as red.\n\nWhat reaches you from all over the sky is this scattered light. Violet is scattered even more, but there is less of it in sunlight, and the eye is "
       "less sensitive to it.\n\nIn the evening the light comes through a longer stretch of air, most of the blue is lost on the way, and what is left is red.")
RIDDLE = "The sky is blue because it reflects the oceans. <b>This</b> is why it is grey where there is no sea."


def make_pairs():
    special = [
        {"prompt": "Why is the sky blue?", "chosen": SKY, "rejected": RIDDLE},
        {"prompt": [{"role": "system", "content": "You are a careful reviewer of Python."},
                    {"role": "user", "content": "How do I remove duplicates from a list and keep the order?"}],
         "chosen": [{"role": "assistant", "content": CODE}], "rejected": [{"role": "assistant", "content": CODE_POOR}]},
        {"prompt": "ما هي عاصمة المغرب؟", "chosen": "عاصمة المغرب هي الرباط، وتقع على ساحل المحيط الأطلسي.", "rejected": "عاصمة المغرب هي الدار البيضاء (Casablanca)."},
        {"prompt": "「猫」を一文で説明してください。 🐈", "completions": ["猫は、静かに歩き、よく眠る、しなやかな動物です。😺", "猫とは動物だ。"]},
        {"prompt": [{"role": "user", "content": "What is the weather in Oslo?"}],
         "chosen": [{"role": "assistant", "reasoning": "I need the tool.", "content": "", "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Oslo"}}}]}],
         "rejected": [{"role": "assistant", "content": "Sunny, I guess."}]},
    ]
    return special + [{"prompt": f"What is {a} + {a + 3}?", "chosen": f"{a} + {a + 3} = {2 * a + 3}", "rejected": f"It is {2 * a + 2}."} for a in range(15)]


class Program:
    """`phalanx label`, started and ended as often as the test likes, on one port."""

    def __init__(self, phalanx, folder, *arguments, wrapper=()):
        self.command = [*wrapper, phalanx, "label", "pairs.jsonl", *arguments]
        self.folder, self.port, self.process = folder, "0", None

    def start(self):
        log = pathlib.Path(self.folder, "log.txt")
        with open(log, "w") as file:
            self.process = subprocess.Popen([*self.command, "--port", self.port], cwd=self.folder, stderr=file)
        end = time.time() + 60
        while not (match := re.search(r"open (http://\S+:(\d+)/\S*)", log.read_text())):
            if self.process.poll() is not None or time.time() > end:
                raise AssertionError(f"the program did not start: {log.read_text()}")
            time.sleep(0.02)
        self.url, self.port = match.group(1), match.group(2)
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(20)
        assert code == 0, f"ended with {code} on SIGINT"


CHOICE_KEYS = {"left": ["1", "ArrowLeft"], "right": ["2", "ArrowRight"], "tie": ["t"], "both_bad": ["b"], "skip": ["s"]}


class Person:
    """A labeller at the page, who notes what the page confirmed."""

    def __init__(self, browser, program, name, seed):
        self.browser, self.program, self.name, self.random = browser, program, name, random.Random(seed)
        self.confirmed = {}  # pair -> (choice, text of the left answer, text of the right answer)

    def open(self):
        self.browser.open(f"{self.program.url.split('?')[0]}?labeller={self.name}")
        self.browser.wait("document.body.dataset.pair || (!document.getElementById('message').hidden)")

    def pair(self):
        return self.browser.run("document.body.dataset.pair || ''")

    def sides(self):
        return [self.browser.run(f"JSON.stringify(state.question.{side}.messages)") for side in ("left", "right")]

    def answer(self, choice=None, kill=""):
        pair, sides = self.pair(), self.sides()
        choice = choice or self.random.choices(list(CHOICE_KEYS), [8, 4, 2, 1, 1])[0]
        key = self.random.choice(CHOICE_KEYS[choice])
        if kill == "before":
            self.program.kill()
        self.browser.press(key)
        if kill == "during":
            time.sleep(self.random.random() * 0.01)
            self.program.kill()
        if kill:
            self.browser.wait(f"document.body.dataset.pair !== '{pair}' || !document.getElementById('alert').hidden", "an answer or an alert")
            self.program.start()
            if self.pair() == pair:
                assert "does not answer" in self.browser.run("document.getElementById('alert').textContent")
                self.browser.press(key)
        self.browser.wait(f"document.body.dataset.pair !== '{pair}' && document.getElementById('alert').hidden", f"the pair after {pair}")
        self.confirmed[pair] = (choice, *sides)


def jsonl(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def standing(journal):
    """(labeller, pair) -> verdict; the journal's own rule, written again."""
    answers = {}
    for row in journal[1:]:
        key = (row["labeller"], row["pair"])
        answers.pop(key, None)
        if row["verdict"] != "undo":
            answers[key] = row
    return answers


def cohen(pairs):
    """Cohen's kappa as in every textbook."""
    n = len(pairs)
    observed = sum(a == b for a, b in pairs) / n
    first, second = collections.Counter(a for a, _ in pairs), collections.Counter(b for _, b in pairs)
    expected = sum(first[k] * second[k] for k in first) / n**2
    return (observed - expected) / (1 - expected)


def text_of(answer):
    return json.dumps([answer] if isinstance(answer, str) else [m["content"] for m in answer], ensure_ascii=False)


def shown_text(side):
    return json.dumps([m["text"] for m in json.loads(side)], ensure_ascii=False)


def check_two_labellers(phalanx, browser, folder):
    program = Program(phalanx, folder, "--out", "prefs.jsonl", "--seed", "3").start()
    people = [Person(browser, program, "ann", 1), Person(browser, program, "bob", 2)]
    for person in people:
        person.open()
        for i in range(20):
            person.answer(kill={6: "before", 13: "during"}.get(i, ""))
        browser.wait("document.body.innerText.includes('All done')")
        assert len(person.confirmed) == 20
    program.end()
    program.start()
    second = subprocess.run([phalanx, "label", "pairs.jsonl", "--out", "prefs.jsonl", "--port", "0"], cwd=folder, capture_output=True, text=True)
    assert second.returncode == 77 and "another process writes" in second.stderr, second
    program.end()

    answers, rows = standing(jsonl(folder / "prefs.jsonl.journal")), jsonl(folder / "prefs.jsonl")
    assert len(answers) == 40, f"{len(answers)} of 40 answers"
    by_key = {(row["labeller"], row["pair"]): row for row in rows}
    choices = 0
    for person in people:
        for pair, (choice, left, right) in person.confirmed.items():
            answer = answers[person.name, pair]
            if choice in ("left", "right"):
                choices += 1
                row = by_key[person.name, pair]
                chosen, rejected = (left, right) if choice == "left" else (right, left)
                assert text_of(row["chosen"]) == shown_text(chosen) and text_of(row["rejected"]) == shown_text(rejected), row
                assert answer["verdict"] == ("first" if (answer["left"] == "first") == (choice == "left") else "second")
            else:
                assert answer["verdict"] == choice and (person.name, pair) not in by_key
    assert len(rows) == choices, f"{len(rows)} rows for {choices} choices"
    inspected = subprocess.run([phalanx, "inspect", "prefs.jsonl"], cwd=folder, capture_output=True, text=True)
    assert f"{choices} records of format preference" in inspected.stdout, inspected

    both = [(answers["ann", p]["verdict"], answers["bob", p]["verdict"]) for p in people[0].confirmed]
    both = [pair for pair in both if "skip" not in pair]
    kappa = cohen(both)
    stats = subprocess.run([phalanx, "label", "--stats", "prefs.jsonl"], cwd=folder, capture_output=True, text=True)
    assert f"ann and bob: {len(both)} pairs" in stats.stdout and f"kappa {kappa:.3f}" in stats.stdout, (stats.stdout, kappa)
    print(f"2 labellers x 20 pairs by keyboard, 4 kills: 40 answers confirmed, 40 in the journal, {choices} rows, Cohen's kappa {kappa:.3f} over {len(both)} pairs")


def check_undo_edit_resume(phalanx, browser, folder):
    program = Program(phalanx, folder, "--out", "edits.jsonl", "--order", "random").start()
    person = Person(browser, program, "cid", 5)
    person.open()
    first = person.pair()
    person.answer("tie")
    browser.press("u")
    browser.wait(f"document.body.dataset.pair === '{first}'", "undo brings the pair back")
    browser.press("e")
    browser.press("1")
    browser.wait("document.getElementById('edit-dialog').open")
    browser.run("document.getElementById('edit-text').value = ''")
    browser.press("Enter", control=True)
    browser.wait("!document.getElementById('edit-alert').hidden", "an empty edit is refused")
    browser.type("In my own words: <i>أفضل</i>")
    browser.press("Enter", control=True)
    browser.wait(f"document.body.dataset.pair !== '{first}'", "the edit is saved")
    browser.press("?")
    browser.wait("document.getElementById('help-dialog').open")
    browser.press("1")
    browser.press("Escape")
    browser.wait("!document.getElementById('help-dialog').open")
    second = person.pair()
    program.end()
    row = jsonl(folder / "edits.jsonl")
    assert len(row) == 1 and row[0]["edited"] and "In my own words: <i>أفضل</i>" in json.dumps(row[0]["chosen"], ensure_ascii=False), row
    program.start()
    person.open()
    assert person.pair() == second, "goes on where it stopped"
    program.end()
    print("undo, edit, refused edit, help, resume in a random order: right")


def check_token(phalanx, browser, folder):
    program = Program(phalanx, folder, "--out", "token.jsonl", "--token").start()
    base, token = program.url.split("?token=")
    assert len(token) == 64
    browser.open(base + "?labeller=dan")
    browser.wait("document.body.innerText.includes('with its token')", "refused without a token")
    browser.open(program.url + "&labeller=dan")
    browser.wait("document.body.dataset.pair", "let in with the token")
    assert "token" not in browser.run("location.href")
    Person(browser, program, "dan", 1).answer("left")
    program.end()
    print("token: refused without, let in with it, gone from the address bar")


def check_full_disk(phalanx, browser, folder):
    if os.geteuid() != 0 or not shutil.which("unshare"):
        print("full disk: not run: a small file system needs root and unshare")
        return
    disk = folder / "disk"
    disk.mkdir()
    wrapper = ["unshare", "-m", "bash", "-c", f"mount -t tmpfs -o size=64k tmpfs '{disk}' && exec \"$@\"", "_"]
    program = Program(phalanx, folder, "--out", "disk/prefs.jsonl", wrapper=wrapper).start()
    inside = pathlib.Path(f"/proc/{program.process.pid}/root{disk}")
    person = Person(browser, program, "eve", 1)
    person.open()
    person.answer("left")
    filler = inside / "filler"
    try:
        with open(filler, "wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
    except OSError:
        pass
    before = [(inside / name).read_bytes() for name in ("prefs.jsonl", "prefs.jsonl.journal")]
    refused = 0
    while not refused:  # what is left of the last page may still take an answer
        pair = person.pair()
        browser.press("1")
        browser.wait(f"document.body.dataset.pair !== '{pair}' || !document.getElementById('alert').hidden")
        if person.pair() == pair:
            refused = 1
        else:
            before = [(inside / name).read_bytes() for name in ("prefs.jsonl", "prefs.jsonl.journal")]
    alert = browser.run("document.getElementById('alert').textContent")
    assert "Not saved" in alert and "make room" in alert, alert
    assert before == [(inside / name).read_bytes() for name in ("prefs.jsonl", "prefs.jsonl.journal")], "something was half written"
    filler.unlink()
    person.answer("left")
    rows, journal = jsonl(inside / "prefs.jsonl"), jsonl(inside / "prefs.jsonl.journal")
    assert len(rows) == len(standing(journal)) >= 2
    program.end()
    print("full disk: the answer is refused with the reason on the page, the files are as before, and with room again it is taken")


def take_screenshots(phalanx, browser, folder, target):
    program = Program(phalanx, folder, "--out", "prefs.jsonl").start()
    base = program.url.split("?")[0]
    target.mkdir(parents=True, exist_ok=True)
    browser.look()
    browser.open(f"{base}agreement")
    browser.wait("document.querySelector('#agreement table') !== null")
    browser.screenshot(target / "label-agreement.png")
    views = [("light", {}, 0), ("dark", {"dark": True}, 1), ("rtl", {}, 2), ("unicode", {"dark": True}, 3), ("calls", {}, 4), ("narrow", {"width": 420, "height": 900}, 1)]
    for name, look, skips in views:
        browser.look(**look)
        browser.open(f"{base}?labeller=view-{name}")
        browser.wait("document.body.dataset.pair")
        for _ in range(skips):
            pair = browser.run("document.body.dataset.pair")
            browser.press("s")
            browser.wait(f"document.body.dataset.pair !== '{pair}'")
        browser.screenshot(target / f"label-{name}.png")
    for name, keys, look in (("help", "?", {}), ("edit", "e1", {"dark": True})):
        browser.look(**look)
        browser.open(f"{base}?labeller=view-light")
        browser.wait("document.body.dataset.pair")
        for key in keys:
            browser.press(key)
        browser.screenshot(target / f"label-{name}.png")
    program.end()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("phalanx")
    parser.add_argument("--screenshots", type=pathlib.Path)
    arguments = parser.parse_args()
    if not chromium.find_chromium():
        print("not run: Chromium is missing (Debian package chromium)")
        sys.exit(77)
    phalanx = os.path.abspath(arguments.phalanx)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="phalanx_label_"))
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in make_pairs()))
    browser = chromium.Browser()
    try:
        browser.look()
        check_two_labellers(phalanx, browser, folder)
        if arguments.screenshots:
            take_screenshots(phalanx, browser, folder, arguments.screenshots)
        for check in (check_undo_edit_resume, check_token, check_full_disk):
            check(phalanx, browser, folder)
        print("label page: passed")
    finally:
        browser.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
