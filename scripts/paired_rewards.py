#!/usr/bin/env python3
"""Did training raise the reward on questions that it never saw? One greedy answer to each from both models, a paired test.

    scripts/paired_rewards.py PHALANX BASE TRAINED PROMPTS.jsonl [--max N] [--numeric] [--max-new-tokens N]

PROMPTS.jsonl has records {"prompt", "ground_truth"} (docs/data.md), or is "addition:DIGITS" for sums of made-up numbers. An answer is worth 1
if it is the ground truth but for white space and a full stop (with --numeric: if its last number is). Prints both means with 95 % intervals
and McNemar's exact two-sided p of the answers that only one of them has right. Standard library only.
"""
import argparse
import json
import math
import random
import re
import subprocess

parser = argparse.ArgumentParser()
for name in ("phalanx", "base", "trained", "prompts"):
    parser.add_argument(name)
parser.add_argument("--max", type=int, default=400)
parser.add_argument("--numeric", action="store_true")
parser.add_argument("--max-new-tokens", default="12")
parser.add_argument("--seed", type=int, default=2)
arguments = parser.parse_args()


def questions():
    if not arguments.prompts.startswith("addition:"):
        with open(arguments.prompts, encoding="utf-8") as file:
            return [json.loads(line) for line in file][:arguments.max]
    draw, top = random.Random(arguments.seed), 10 ** int(arguments.prompts.split(":")[1]) - 1
    pairs = [(draw.randint(0, top), draw.randint(0, top)) for _ in range(arguments.max)]
    return [{"prompt": f"What is {a} + {b}? Answer with the number alone.", "ground_truth": str(a + b)} for a, b in pairs]


def rewards(model, rows):
    def line(row):
        prompt = row["prompt"]
        messages = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
        return json.dumps({"messages": messages})
    command = [arguments.phalanx, "generate", model, "--temperature", "0", "--max-new-tokens", arguments.max_new_tokens]
    output = subprocess.run(command, input="\n".join(map(line, rows)) + "\n", capture_output=True, text=True, check=True).stdout
    return [is_right(json.loads(answer)["text"], row["ground_truth"]) for answer, row in zip(output.splitlines(), rows, strict=True)]


def is_right(answer, truth):
    if arguments.numeric:
        numbers = re.findall(r"-?\d[\d,]*(?:\.\d+)?", answer)
        return bool(numbers) and float(numbers[-1].replace(",", "")) == float(truth)
    return answer.strip().removesuffix(".").strip() == truth.strip().removesuffix(".").strip()


def interval(k, n):  # Wilson's, 95 %
    z, p = 1.96, k / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


rows = questions()
before, after = rewards(arguments.base, rows), rewards(arguments.trained, rows)
gained, lost = sum(b < a for b, a in zip(before, after)), sum(b > a for b, a in zip(before, after))
p = min(1.0, 2 * sum(math.comb(gained + lost, i) for i in range(min(gained, lost) + 1)) / 2 ** (gained + lost))
for name, found in (("before", before), ("after", after)):
    low, high = interval(sum(found), len(found))
    print(f"{name:7} {sum(found) / len(found):.3f}  [{low:.3f}, {high:.3f}]")
print(f"{len(rows)} questions: {gained} gained, {lost} lost; McNemar's exact p = {p:.2g}")
