"""Writes json_suite.json from a clone of https://github.com/nst/JSONTestSuite (MIT licence, Copyright (c) 2016 Nicolas Seriot), commit
COMMIT: name -> base64 of the text; a long text that is one short piece again and again, and a rest, is
[piece, count, rest].
    python3 make_json_suite.py CLONE"""
import base64
import json
import pathlib
import subprocess
import sys

COMMIT = "1ef36fa01286573e846ac449e8683f8833c5b26a"


def git(*arguments):
    return subprocess.run(["git", "-C", sys.argv[1], *arguments], check=True, capture_output=True).stdout


def packed(text):
    for length in range(1, 20):
        count = len(text) // length
        if len(text) > 1000 and text.startswith(text[:length] * count):
            return [base64.b64encode(text[:length]).decode(), count, base64.b64encode(text[length * count:]).decode()]
    return base64.b64encode(text).decode()


names = git("ls-tree", "-r", "--name-only", COMMIT, "test_parsing").decode().split("\n")
cases = {pathlib.Path(name).name: packed(git("show", f"{COMMIT}:{name}")) for name in names if name.endswith(".json")}
out = {"source": f"JSONTestSuite {COMMIT}, MIT licence, Copyright (c) 2016 Nicolas Seriot", "cases": cases}
(pathlib.Path(__file__).parent / "json_suite.json").write_text(json.dumps(out, indent=0) + "\n")
