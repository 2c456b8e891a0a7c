"""A GRPO step against TRL's GRPOTrainer, interleaved; see bench_rollouts.sh."""
import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build/release/phalanx"
GGUF = ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
GROUP, NEW = 8, 128
SUBJECTS = ["a river", "the moon", "bread", "a bicycle", "the sea", "a library", "winter", "a clock", "salt", "a mountain"]
PROMPTS = [f"Write a long story, in many sentences, about {subject} and the people who live near it. It begins so:" for subject in SUBJECTS]
parser = argparse.ArgumentParser()
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--out", default="docs/rollouts_benchmark.md", help="the section is added at its end")
arguments = parser.parse_args()
work = pathlib.Path(tempfile.mkdtemp(prefix="phalanx-grpo-"))
environment = {**os.environ, "OMP_NUM_THREADS": "2"}


def phalanx(precision, steps=2):
    """Of the last step of a short run: seconds, mean length of an answer; and CPU seconds of a step in the whole run."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=work))
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS))
    config = folder / "grpo.yaml"
    config.write_text(f"""
run: {{name: bench, output_dir: {folder}/run, seed: 1, threads: 2}}
model: {{path: {GGUF}}}
data: {{train: [{{path: {prompts}}}]}}
method: {{name: grpo, num_generations: {GROUP}, max_completion_length: {NEW}, temperature: 1.0}}
reward: {{terms: [{{name: repetition, ngram_size: 2}}]}}
optimizer: {{learning_rate: 1.0e-6}}
schedule: {{name: constant, warmup_steps: 0}}
train: {{max_steps: {steps}, global_batch_size: {GROUP}, micro_batch_size: {GROUP}, precision: {precision}}}
checkpoint: {{save_final: false}}
""")
    result = subprocess.run([str(PROGRAM), "train", str(config)], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    row = [r for r in rows if "step_s" in r][-1]
    return {"seconds": row["step_s"], "mean_length": row["completions/mean_length"]}


class Peer:
    def __init__(self, dtype):
        file = work / "prompts.json"
        file.write_text(json.dumps(PROMPTS))
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "scripts/bench/hf_grpo.py"), str(GGUF), str(file), str(GROUP), str(NEW), dtype],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(work / f"{dtype}.log").open("w"), text=True, env=environment)
        assert self.process.stdout.readline() == "ready\n", (work / f"{dtype}.log").read_text()
        self.step()  # warms up

    def step(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def per_token(row):
    return row["seconds"] / (GROUP * row["mean_length"])


peers = {dtype: Peer(dtype) for dtype in ("fp32", "bf16")}
theirs, ours = {dtype: [] for dtype in peers}, {dtype: [] for dtype in peers}
for _ in range(arguments.rounds):
    for dtype, peer in peers.items():
        ours[dtype].append(phalanx(dtype))
        theirs[dtype].append(peer.step())
median = statistics.median
lines = ["", "## A GRPO step", "",
         f"`scripts/bench_rollouts.sh`: {GROUP} answers of at most {NEW} tokens to one prompt, sampled, judged (repetition) and learned "
         "from: AdamW, clipping at 1, no reference. TRL's `GRPOTrainer` without vLLM; bf16 there has no master weights. "
         "Answers are drawn, so their lengths differ: the ratio is of ms per new token, medians of interleaved steps.", "",
         "| precision | TRL: s per step | tokens | ms/token | phalanx: s per step | tokens | ms/token | ratio |", "|---|---|---|---|---|---|---|---|"]
for dtype in peers:
    cells, speeds = [], []
    for rows in (theirs[dtype], ours[dtype]):
        speeds.append(median(map(per_token, rows)))
        cells += [f"{median(r['seconds'] for r in rows):.2f}", f"{median(GROUP * r['mean_length'] for r in rows):.0f}",
                  f"{1e3 * speeds[-1]:.2f}"]
    lines.append(f"| {dtype} | {' | '.join(cells)} | {speeds[0] / speeds[1]:.1f} |")
best = [min(median(map(per_token, rows)) for rows in side.values()) for side in (theirs, ours)]
lines += ["", f"Best of each: {1e3 * best[0]:.2f} ms per token against {1e3 * best[1]:.2f}, {best[0] / best[1]:.1f} times.", ""]
with (ROOT / arguments.out).open("a") as out:
    out.write("\n".join(lines))
print("\n".join(lines))
