"""Interleaved benchmark against transformers and PEFT: SmolLM2-135M, B4 T512, 2 threads. See bench_peers.sh."""
import argparse
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build/release/phalanx"
GGUF = ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
B, T = 4, 512
parser = argparse.ArgumentParser()
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--steps", type=int, default=5)
parser.add_argument("--decode-tokens", type=int, default=96)
parser.add_argument("--only", default="", help="comma list of full, lora, decode, ranks")
parser.add_argument("--out", default="docs/benchmarks")
arguments = parser.parse_args()
work = pathlib.Path(tempfile.mkdtemp(prefix="phalanx-bench-"))
samples = []


def measure(command):
    """Runs a command; (stdout, peak RSS in bytes of the process and its children)."""
    with open(work / "stdout", "w+") as out, open(work / "stderr", "w+") as err:
        process = subprocess.Popen([str(c) for c in command], stdout=out, stderr=err, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
        out.seek(0), err.seek(0)
        text, errors = out.read(), err.read()
    if status != 0:
        sys.exit(f"failed: {' '.join(map(str, command))}\n{errors[-3000:]}")
    return text, errors, usage.ru_maxrss * 1024


def prepare_tokens():
    """One long text; both sides train on the same rows of T tokens."""
    lines = []
    for line in open("/usr/share/wordnet/data.noun", encoding="utf-8"):
        if " | " in line:
            lines.append(line.partition(" | ")[2].strip())
    text = " ".join(lines[:40000])
    (work / "text.jsonl").write_text(json.dumps({"text": text}, ensure_ascii=False) + "\n", encoding="utf-8")
    out = subprocess.run([PROGRAM, "tokenize", GGUF], input=(work / "text.jsonl").read_text(encoding="utf-8"), capture_output=True,
                         text=True, check=True).stdout
    ids = json.loads(out.splitlines()[0])["ids"]
    rows = [ids[i * T:(i + 1) * T] for i in range(arguments.steps * B)]
    data = [rows[s * B:(s + 1) * B] for s in range(arguments.steps)]
    (work / "tokens.json").write_text(json.dumps(data))


def ours(mode, precision, dp=1, threads=2):
    folder = work / "run"
    shutil.rmtree(folder, ignore_errors=True)
    config = work / "bench.yaml"
    config.write_text(f"""
run: {{name: bench, output_dir: {folder}, threads: {threads}}}
model: {{path: {GGUF}}}
{"lora: {r: 16, alpha: 32}" if mode == "lora" else ""}
data: {{train: [{{path: {work}/text.jsonl}}], sequence_length: {T}, packing: true, shuffle: false, loss_on: all, cache_dir: {work}/cache}}
method: {{name: pretrain}}
optimizer: {{learning_rate: 2.0e-5}}
schedule: {{name: constant}}
train: {{max_steps: {arguments.steps}, global_batch_size: {B}, micro_batch_size: {B // dp}, precision: {precision}}}
parallel: {{dp: {dp}}}
checkpoint: {{every_steps: 0, save_final: false}}
""")
    _, _, rss = measure([PROGRAM, "train", config])
    rows = [json.loads(line) for line in open(folder / "metrics.jsonl")]
    rows = [row for row in rows if "loss" in row]
    seconds = sorted(row["step_s"] for row in rows[1:])
    return {"tokens_per_s": B * T / seconds[len(seconds) // 2], "losses": [r["loss"] for r in rows], "rss_bytes": rss}


def our_decode(precision):
    rows = json.loads((work / "tokens.json").read_text())
    (work / "prompt.jsonl").write_text(json.dumps({"ids": rows[0][0][:32]}) + "\n")
    command = f"{PROGRAM} generate {GGUF} --max-new-tokens {arguments.decode_tokens} --ignore-eos --temperature 0 --set train.precision={precision} --set run.threads=2 --stats {work}/stats.json < {work}/prompt.jsonl"
    _, _, rss = measure(["bash", "-c", command])
    stats = json.loads((work / "stats.json").read_text())
    return {"tokens_per_s": stats["decode_tokens_per_s"], "rss_bytes": rss}


def theirs(mode, dtype):
    steps = arguments.decode_tokens if mode == "decode" else arguments.steps
    text, _, rss = measure([sys.executable, ROOT / "scripts/bench/hf_peer.py", GGUF, work / "tokens.json", mode, dtype, steps])
    return {**json.loads(text.splitlines()[-1]), "rss_bytes": rss}


def sample(side, mode, setting, result, round_number):
    row = {"round": round_number, "side": side, "mode": mode, "setting": setting, **result}
    samples.append(row)
    print(f"  {side:8} {mode:7} {setting:12} {row['tokens_per_s']:8.1f} tok/s  {row['rss_bytes'] / 2**30:5.2f} GiB", flush=True)
    return row


def compare(mode, our_settings, their_settings):
    """Rounds of every setting of both sides; ratio of the best setting of each side, by round."""
    rounds = []
    for number in range(arguments.rounds):
        mine = [sample("phalanx", mode, name, run(), number) for name, run in our_settings]
        peer = [sample("peer", mode, name, run(), number) for name, run in their_settings]
        rounds.append((mine, peer))
    best = lambda rows: max(rows, key=lambda row: row["tokens_per_s"])
    speed = [best(m)["tokens_per_s"] / best(p)["tokens_per_s"] for m, p in rounds]
    memory = [best(m)["rss_bytes"] / best(p)["rss_bytes"] for m, p in rounds]
    least = [min(r["rss_bytes"] for r in m) / min(r["rss_bytes"] for r in p) for m, p in rounds]
    row = {"mode": mode, "ours": statistics.median(best(m)["tokens_per_s"] for m, _ in rounds),
           "theirs": statistics.median(best(p)["tokens_per_s"] for _, p in rounds),
           "their_setting": best(rounds[0][1])["setting"], "our_setting": best(rounds[0][0])["setting"],
           "speed": speed, "memory": memory, "memory_least": least,
           "our_rss": statistics.median(best(m)["rss_bytes"] for m, _ in rounds),
           "their_rss": statistics.median(best(p)["rss_bytes"] for _, p in rounds)}
    return row


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def loss_gap():
    mine = [s for s in samples if s["side"] == "phalanx" and s["mode"] == "full"]
    peer = [s for s in samples if s["side"] == "peer" and s["mode"] == "full" and s["setting"] == "autocast"]
    if not mine or not peer:
        return None
    return max(abs(a - b) / b for a, b in zip(mine[0]["losses"], peer[0]["losses"]))


def write(rows):
    import torch
    import transformers
    import peft
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    flags = next(line for line in open("/proc/cpuinfo") if line.startswith("flags"))
    isa = ", ".join(f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags.split())
    lines = ["# Benchmarks", "",
             "Written by `scripts/bench_peers.sh`; raw samples in `benchmarks.jsonl`. Both sides in one run, interleaved; ratios are medians",
             "of paired rounds (minimum-maximum). Speed above 1 and memory below 1 are in our favour.", "",
             f"Machine: {cpu}, {os.cpu_count()} cores ({isa}); load {os.getloadavg()[0]:.1f} at the end. Peers: transformers {transformers.__version__}, "
             f"PEFT {peft.__version__}, torch {torch.__version__}, eager, fastest of fp32, bf16 and autocast.",
             f"Work: SmolLM2-135M, B{B} T{T}, 2 threads, AdamW, clipping, {arguments.steps} steps (median step without the first), "
             f"{arguments.rounds} rounds; decoding {arguments.decode_tokens} tokens after 32.", "",
             "| what | ours tok/s | peer tok/s | speed ratio | our RSS GiB | peer RSS GiB | memory ratio | least memory of either |", "|---|---|---|---|---|---|---|---|"]
    for r in rows:
        lines.append(f"| {r['mode']} ({r['our_setting']} against {r['their_setting']}) | {r['ours']:.0f} | {r['theirs']:.0f} | {spread(r['speed'])} "
                     f"| {r['our_rss'] / 2**30:.2f} | {r['their_rss'] / 2**30:.2f} | {spread(r['memory'])} | {spread(r['memory_least'])} |")
    gap = loss_gap()
    if gap is not None:
        lines += ["", f"Loss curves of both sides (full, bf16 against autocast) agree within {100 * gap:.2f} %."]
    out = ROOT / f"{arguments.out}.md"
    out.write_text("\n".join(lines) + "\n")
    with open(ROOT / f"{arguments.out}.jsonl", "w") as file:
        for row in samples:
            file.write(json.dumps(row) + "\n")
    print(out.read_text())


prepare_tokens()
wanted = set(arguments.only.split(",")) if arguments.only else {"full", "lora", "decode", "ranks"}
results = []
peers = [("fp32", "fp32"), ("bf16", "bf16"), ("autocast", "autocast")]
for mode in ("full", "lora"):
    if mode in wanted:
        results.append(compare(mode, [("bf16", lambda m=mode: ours(m, "bf16"))],
                               [(name, lambda m=mode, d=d: theirs(m, d)) for name, d in peers]))
if "decode" in wanted:
    results.append(compare("decode", [("bf16", lambda: our_decode("bf16"))],
                           [(name, lambda d=d: theirs("decode", d)) for name, d in peers[:2]]))
if "ranks" in wanted:
    results.append(compare("ranks", [("2 ranks x 1", lambda: ours("full", "bf16", dp=2, threads=1))],
                           [("1 rank x 2", lambda: ours("full", "bf16"))]))
write(results)
shutil.rmtree(work)
