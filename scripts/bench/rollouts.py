"""Rollouts against transformers' generate, interleaved; see bench_rollouts.sh."""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build/release/phalanx"
GGUF = ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
GROUP, NEW, PROMPT, LONG_PROMPT = 8, 128, 64, 512
parser = argparse.ArgumentParser()
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--out", default="docs/rollouts_benchmark.md")
arguments = parser.parse_args()
work = pathlib.Path(tempfile.mkdtemp(prefix="phalanx-rollouts-"))


def processor():
    names = [line.partition(":")[2].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return names[0] if names else platform.machine()


def prompt_ids(count, first=0):
    return [1 + (first + 37 * i) % 40000 for i in range(count)]


def phalanx(prompts, group, new_tokens, precision, *sets):
    """Seconds of one call of generate (model loading is not in it), and its seconds per further token."""
    stats = work / "stats.json"
    command = [PROGRAM, "generate", GGUF, "--max-new-tokens", new_tokens, "--num-samples", group, "--temperature", 1,
               "--ignore-eos", "--stats", stats, "--set", f"train.precision={precision}", "--set", "run.threads=2"]
    for each in sets:
        command += ["--set", each]
    text = "".join(json.dumps({"ids": ids}) + "\n" for ids in prompts)
    subprocess.run([str(c) for c in command], input=text, text=True, check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "2"})
    row = json.loads(stats.read_text())
    assert row["new_tokens"] == len(prompts) * group * new_tokens
    return row["total_s"], row["tpot_s"]


class Peer:
    def __init__(self, dtype, cache):
        file = work / "prompt.json"
        file.write_text(json.dumps(prompt_ids(PROMPT)))
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "scripts/bench/hf_rollouts.py"), str(GGUF), str(file), str(GROUP), str(NEW), dtype,
             cache],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "2"})
        assert self.process.stdout.readline() == "ready\n"

    def seconds(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())["seconds"]


PRECISIONS, CACHES = ("fp32", "bf16"), ("dynamic", "static")
peers = {(dtype, cache): Peer(dtype, cache) for dtype in PRECISIONS for cache in CACHES}
ours = {(precision, invariant): [] for precision in PRECISIONS for invariant in (False, True)}
theirs = {setting: [] for setting in peers}
shared = []
for _ in range(arguments.rounds):
    for (precision, invariant), samples in ours.items():
        samples.append(phalanx([prompt_ids(PROMPT)], GROUP, NEW, precision,
                               f"rollout.batch_invariant={str(invariant).lower()}")[0])
        setting = precision, CACHES[invariant]
        theirs[setting].append(peers[setting].seconds())
    one = prompt_ids(LONG_PROMPT)
    prefill = phalanx([one], 1, 1, "bf16")[0]
    _, step = phalanx([prompt_ids(LONG_PROMPT, i) for i in range(16)], 1, NEW, "bf16", "rollout.prefill_tokens=8192")
    group = phalanx([one], 16, NEW, "bf16")[0]
    shared.append((group, prefill, (NEW - 1) * step))

median = statistics.median
lines = [
    "# Rollouts: speed", "",
    f"`scripts/bench_rollouts.sh --rounds {arguments.rounds}`: SmolLM2-135M, a group of {GROUP} samples of one prompt of "
    f"{PROMPT} tokens, {NEW} new tokens, temperature 1, 2 threads of {processor()}; medians of "
    f"interleaved samples, model loading left out. transformers' `generate` runs with `num_return_sequences` and SDPA; the ratio is to "
    "the faster one of its two caches.", "",
    "| precision | transformers, s | static cache, s | phalanx, s | ratio | with `rollout.batch_invariant`, s | ratio |",
    "|---|---|---|---|---|---|---|"]
for precision in PRECISIONS:
    dynamic, static = (median(theirs[precision, cache]) for cache in CACHES)
    own, exact = (median(ours[precision, invariant]) for invariant in (False, True))
    peer = min(dynamic, static)
    lines.append(f"| {precision} | {dynamic:.2f} | {static:.2f} | {own:.2f} | {peer / own:.1f} | {exact:.2f} | {peer / exact:.1f} |")
best = min(median(samples) for samples in theirs.values())
own = min(median(ours[precision, False]) for precision in PRECISIONS)
lines += ["", f"Best of each: {best:.2f} s against {own:.2f} s, {best / own:.1f} times.", "",
          f"A prompt of {LONG_PROMPT} tokens, bf16: 16 samples take {median(g for g, _, _ in shared):.2f} s; its prefill takes "
          f"{median(p for _, p, _ in shared):.2f} s and the decoding of 16 sequences that share nothing "
          f"{median(d for _, _, d in shared):.2f} s: {median(g / (p + d) for g, p, d in shared):.2f} of both together.", ""]
(ROOT / arguments.out).write_text("\n".join(lines))
print("\n".join(lines))
