"""Runs one training on several meshes and compares curves and speed. See scripts/bench_parallel.sh."""
import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile

# name, ranks, what is set besides the config. The global batch is the same everywhere; each mesh has the micro-batch that
# suits it: a pipeline wants many, sharded weights want few.
MESHES = [
    ("dp 2", 2, ["parallel.dp=2", "train.micro_batch_size=4"]),
    ("tp 2 (uneven heads)", 2, ["parallel.dp=1", "parallel.tp=2", "parallel.allow_uneven=true",
                                "train.micro_batch_size=8"]),
    ("pp 2 1f1b", 2, ["parallel.dp=1", "parallel.pp=2", "train.micro_batch_size=2"]),
    ("pp 2 zb_h1", 2, ["parallel.dp=1", "parallel.pp=2", "parallel.pipeline_schedule=zb_h1",
                       "train.micro_batch_size=2"]),
    ("cp 2 ring", 2, ["parallel.dp=1", "parallel.cp=2", "train.micro_batch_size=8"]),
    ("dp 2 zero 1", 2, ["parallel.dp=2", "parallel.zero_stage=1", "train.micro_batch_size=4"]),
    ("dp 2 zero 2", 2, ["parallel.dp=2", "parallel.zero_stage=2", "train.micro_batch_size=4"]),
    ("dp 2 zero 3", 2, ["parallel.dp=2", "parallel.zero_stage=3", "train.micro_batch_size=4"]),
    ("dp 4", 4, ["parallel.dp=4", "train.micro_batch_size=2"]),
    ("dp 2 x tp 2", 4, ["parallel.dp=2", "parallel.tp=2", "parallel.allow_uneven=true", "train.micro_batch_size=4"]),
    ("dp 2 x pp 2", 4, ["parallel.dp=2", "parallel.pp=2", "train.micro_batch_size=1"]),
    ("dp 4 zero 3", 4, ["parallel.dp=4", "parallel.zero_stage=3", "train.micro_batch_size=2"]),
]
REFERENCE = ("1 rank", 1, ["parallel.dp=1", "train.micro_batch_size=8"])
BASE = "dp 2"  # whose speed is 1
CURVE_LIMIT = 1e-2  # relative, of each step's loss: bf16 (docs/parallelism.md)


def run(phalanx, config, mesh, steps, folder, more=()):
    name, ranks, sets = mesh
    out = os.path.join(folder, "run")
    shutil.rmtree(out, ignore_errors=True)
    words = [phalanx, "train", config]
    cache = os.path.join(folder, "cache")
    for item in [*sets, *more, f"run.output_dir={out}", f"train.max_steps={steps}", f"data.cache_dir={cache}"]:
        words += ["--set", item]
    environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{name}: exit {done.returncode}\n{done.stderr}")
    with open(os.path.join(out, "metrics.jsonl"), encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    rows = [row for row in rows if "loss" in row]
    return {
        "mesh": name,
        "ranks": ranks,
        "losses": [row["loss"] for row in rows],
        "grad_norms": [row["grad_norm"] for row in rows],
        "tokens_per_s": statistics.median(row["tokens_per_s"] for row in rows[1:]),
        "memory_bytes": max(row["memory_bytes"] for row in rows),
    }


def summary(ratios):
    if not ratios:
        return "not measured"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def worst(losses, reference):
    return max(abs(a - b) / abs(b) for a, b in zip(losses, reference))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phalanx", required=True)
    parser.add_argument("--config", default="configs/wordnet_parallel.yaml")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--curve-length", type=int, default=64, help="data.sequence_length of the curves")
    parser.add_argument("--rounds", type=int, default=3, help="of a few steps each, interleaved, for the speed")
    parser.add_argument("--round-steps", type=int, default=5)
    parser.add_argument("--ranks", default="2,4")
    parser.add_argument("--page", default="docs/parallelism_benchmark.md")
    arguments = parser.parse_args()
    ranks = {int(part) for part in arguments.ranks.split(",")}
    meshes = [mesh for mesh in MESHES if mesh[1] in ranks]
    samples, curves, failed = [], {}, []
    with tempfile.TemporaryDirectory() as folder:
        curve = [f"data.sequence_length={arguments.curve_length}"]  # shorter: curves take many steps
        reference = run(arguments.phalanx, arguments.config, REFERENCE, arguments.steps, folder, curve)
        for mesh in meshes:
            curves[mesh[0]] = run(arguments.phalanx, arguments.config, mesh, arguments.steps, folder, curve)
            apart = worst(curves[mesh[0]]["losses"], reference["losses"])
            if apart > CURVE_LIMIT:
                failed.append(mesh[0])
            print(f"{mesh[0]:24} curve apart {apart:.2e}  {curves[mesh[0]]['tokens_per_s']:8.1f} tok/s", flush=True)
        speeds = {mesh[0]: [] for mesh in meshes}
        for number in range(arguments.rounds):
            base = None
            for mesh in meshes:
                sample = run(arguments.phalanx, arguments.config, mesh, arguments.round_steps, folder)
                sample["round"] = number
                samples.append(sample)
                base = base or sample["tokens_per_s"]
                speeds[mesh[0]].append(sample["tokens_per_s"] / base)
    os.makedirs("docs/benchmarks", exist_ok=True)
    with open("docs/benchmarks/parallel.jsonl", "w", encoding="utf-8") as file:
        for sample in [reference, *curves.values(), *samples]:
            file.write(json.dumps(sample) + "\n")
    with open(arguments.page, "w", encoding="utf-8") as page:
        page.write("# One training on several meshes\n\nWritten by `scripts/bench_parallel.sh`; raw rows in "
                   "`benchmarks/parallel.jsonl`.\n\n")
        page.write(f"Machine: {platform.processor() or platform.machine()}, {os.cpu_count()} cores; MPI ranks on one "
                   f"host (more ranks than cores share them). Config: `{arguments.config}`, {arguments.steps} steps (sequences of {arguments.curve_length} tokens) for the curves. "
                   f"Curve: largest relative distance of a step's loss from one rank's. Speed: against {BASE} in the "
                   f"same round, median (minimum-maximum) of {arguments.rounds} rounds.\n\n")
        page.write("| mesh | ranks | curve | tokens/s against dp 2 | memory of all ranks GiB |\n|---|---|---|---|---|\n")
        for mesh in meshes:
            curve, speed = curves[mesh[0]], speeds[mesh[0]]
            page.write(f"| {mesh[0]} | {mesh[1]} | {worst(curve['losses'], reference['losses']):.1e} | "
                       f"{summary(speed)} | "
                       f"{curve['memory_bytes'] / 2**30:.2f} |\n")
    if failed:
        sys.exit(f"curves beyond {CURVE_LIMIT}: {', '.join(failed)}")


if __name__ == "__main__":
    main()
