"""Interleaved benchmark against transformers and PEFT: SmolLM2-135M, B4 T512, 2 threads. See bench_peers.sh."""
import argparse
import contextlib
import fcntl
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build/release/phalanx"
GGUF = ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
B, T = 4, 512
parser = argparse.ArgumentParser()
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--steps", type=int, default=4)
parser.add_argument("--quick", action="store_true", help="2 rounds of 3 steps: a look, not a result")
parser.add_argument("--decode-tokens", type=int, default=96)
parser.add_argument("--only", default="", help="comma list of full, lora, decode, ranks")
parser.add_argument("--out", default="docs")
arguments = parser.parse_args()
if arguments.quick:
    arguments.rounds, arguments.steps, arguments.decode_tokens = 2, 3, 48
work = pathlib.Path(tempfile.mkdtemp(prefix="phalanx-bench-"))
samples = []


@contextlib.contextmanager
def quiet_machine():
    """Where PHALANX_BENCH_LOCK names a file, nobody who respects its lock works beside a pair of measurements."""
    if "PHALANX_BENCH_LOCK" not in os.environ:
        yield
        return
    with open(os.environ["PHALANX_BENCH_LOCK"]) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def first_in_line():
    """Both sides run at the highest priority that we may set: a preempted thread stalls every barrier of either side."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)


class TooSlow(Exception):
    pass


def measure(command, limit_s=None):
    """Runs a command; (stdout, stderr, peak RSS in bytes of the process and its children). Ends it after `limit_s`: TooSlow."""
    with open(work / "stdout", "w+") as out, open(work / "stderr", "w+") as err:
        process = subprocess.Popen([str(c) for c in command], stdout=out, stderr=err, cwd=ROOT, preexec_fn=first_in_line)
        timer = threading.Timer(limit_s, process.kill) if limit_s else None
        start = time.monotonic()
        if timer:
            timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        if timer:
            timer.cancel()
            if os.WIFSIGNALED(status) and time.monotonic() - start >= limit_s:
                raise TooSlow
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
    return {"tokens_per_s": statistics.median(row["tokens_per_s"] for row in rows[1:]), "losses": [r["loss"] for r in rows],
            "step_s": [r["step_s"] for r in rows], "rss_bytes": rss}


def our_decode(precision):
    rows = json.loads((work / "tokens.json").read_text())
    (work / "prompt.jsonl").write_text(json.dumps({"ids": rows[0][0][:32]}) + "\n")
    command = f"{PROGRAM} generate {GGUF} --max-new-tokens {arguments.decode_tokens} --ignore-eos --temperature 0 --set train.precision={precision} --set run.threads=2 --stats {work}/stats.json < {work}/prompt.jsonl"
    _, _, rss = measure(["bash", "-c", command])
    stats = json.loads((work / "stats.json").read_text())
    return {"tokens_per_s": stats["decode_tokens_per_s"], "rss_bytes": rss}


def theirs(mode, dtype, limit_s=None):
    steps = arguments.decode_tokens if mode == "decode" else arguments.steps
    text, _, rss = measure([sys.executable, ROOT / "scripts/bench/hf_peer.py", GGUF, work / "tokens.json", mode, dtype, steps], limit_s)
    return {**json.loads(text.splitlines()[-1]), "rss_bytes": rss}


def sample(side, mode, setting, run, number):
    load = os.getloadavg()[0]
    row = {"round": number, "side": side, "mode": mode, "setting": setting, "load_before": load, **run()}
    samples.append(row)
    print(f"  {side:8} {mode:7} {setting:12} {row['tokens_per_s']:8.1f} tok/s  {row['rss_bytes'] / 2**30:5.2f} GiB  load {load:.1f}", flush=True)
    return row


def best_peer(mode, settings):
    """Every setting once; the fastest is the peer of all pairs. One that takes longer than the first is given up."""
    rows, first_s = [], None
    for name, run in settings:
        start = time.monotonic()
        with quiet_machine():
            try:
                rows.append(sample("probe", mode, name, (lambda: run(1.3 * first_s)) if first_s else run, -1))
            except TooSlow:
                samples.append({"round": -1, "side": "probe", "mode": mode, "setting": name, "given_up_after_s": 1.3 * first_s})
                print(f"  probe    {mode:7} {name:12} given up after {1.3 * first_s:.0f} s", flush=True)
        first_s = first_s or time.monotonic() - start
    fastest = max(rows, key=lambda row: row["tokens_per_s"])
    return next((name, run) for name, run in settings if name == fastest["setting"])


def compare(mode, our_setting, their_settings):
    """Pairs, one after the other (A B A B ...); ratios are taken within a pair."""
    peer_setting = their_settings[0] if len(their_settings) == 1 else best_peer(mode, their_settings)
    pairs = []
    for number in range(arguments.rounds):
        with quiet_machine():
            pairs.append((sample("phalanx", mode, *our_setting, number), sample("peer", mode, *peer_setting, number)))
    middle = lambda side, key: statistics.median(pair[side][key] for pair in pairs)
    return {"mode": mode, "our_setting": our_setting[0], "their_setting": peer_setting[0],
            "ours": middle(0, "tokens_per_s"), "theirs": middle(1, "tokens_per_s"),
            "our_rss": middle(0, "rss_bytes"), "their_rss": middle(1, "rss_bytes"),
            "speed": [a["tokens_per_s"] / b["tokens_per_s"] for a, b in pairs],
            "memory": [a["rss_bytes"] / b["rss_bytes"] for a, b in pairs]}


def measured_peaks():
    """Of ops_bench, where it is built: {"fp32": FLOP/s, "bf16": FLOP/s, "read": bytes/s} and the line that it printed."""
    program = ROOT / "build/release/bench/ops_bench"
    if not program.exists():
        return None
    with quiet_machine():
        text, _, _ = measure(["env", "OMP_NUM_THREADS=2", program, "--benchmark_filter=none"])
    line = next(line for line in text.splitlines() if line.startswith("peaks"))
    numbers = re.findall(r"(fp32|bf16|read) ([0-9.]+)", line)
    return {name: float(value) * 1e9 for name, value in numbers}, line


# SmolLM2-135M: N counts every matrix that multiplies activations (the tied embedding once), attention per token at length T.
N_PARAMETERS, LAYERS, WIDTH = 134_515_008, 30, 576


def flops_per_token(mode, causal):
    attention = (6 if causal else 12) * LAYERS * WIDTH * T
    if mode == "lora":
        n_lora = 4_884_480  # r 16 on all linear modules of the blocks
        return 4 * N_PARAMETERS + 6 * n_lora + attention
    return 6 * N_PARAMETERS + attention


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def loss_gap(mode):
    """Largest relative difference of the losses of one of our runs and one of the peer's on the same tokens."""
    mine = [s for s in samples if s["side"] == "phalanx" and s["mode"] == mode]
    peer = [s for s in samples if s["side"] == "peer" and s["mode"] == mode]
    return max(abs(a - b) / b for a, b in zip(mine[0]["losses"], peer[0]["losses"]))


def cpu_flags():
    return re.search(r"flags\s*: (.*)", open("/proc/cpuinfo").read())[1].split()


# What train.precision: auto chooses; decoding is bound by the bytes of the weights, so there bf16 is best on every machine.
TRAIN_PRECISION = "bf16" if "avx512_bf16" in cpu_flags() else "fp32"


def cpu_name():
    name = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    flags = cpu_flags()
    isa = ", ".join(f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags)
    return f"{name[1] if name else platform.machine()}, {os.cpu_count()} cores ({isa})"


def utilisation(rows, peaks):
    lines = []
    if not peaks:
        return lines
    found, line = peaks
    for row in rows:
        if row["mode"] not in ("full", "lora"):
            continue
        rates = [row["ours"] * flops_per_token(row["mode"], causal) for causal in (False, True)]
        lines.append(f"- {row['mode']}: {rates[0] / 1e9:.0f} GFLOP/s, {100 * rates[0] / found[TRAIN_PRECISION]:.0f} % of the {TRAIN_PRECISION} peak with "
                     f"12 L h T for attention; {rates[1] / 1e9:.0f} GFLOP/s, {100 * rates[1] / found[TRAIN_PRECISION]:.0f} % with 6 L h T")
    for row in rows:
        if row["mode"] == "decode":
            lines.append(f"- decode: {row['ours'] * 2 * N_PARAMETERS / 1e9:.1f} GB/s of weights, "
                         f"{100 * row['ours'] * 2 * N_PARAMETERS / found['read']:.0f} % of the read stream")
    return ["", f"Use of the machine ({line}, measured in the same run):", "", *lines]


def write(rows, peaks):
    import peft
    import torch
    import transformers
    lines = ["# Benchmarks", "",
             "Written by `scripts/bench_peers.sh`; raw samples in `benchmarks/samples.jsonl`. Both sides in one run, interleaved; ratios are",
             "medians of the ratios within a pair (minimum-maximum). Speed above 1 and memory below 1 are in our favour.", "",
             f"Machine: {cpu_name()}; load {load_at_start:.1f} before, {os.getloadavg()[0]:.1f} after. Peers: transformers {transformers.__version__}, "
             f"PEFT {peft.__version__}, torch {torch.__version__}, eager, the fastest of fp32, bf16 and autocast; fused AdamW.",
             f"Work: SmolLM2-135M, B{B} T{T}, 2 threads, the same tokens, AdamW, clipping at 1; {arguments.steps} steps (median step without "
             f"the first), {arguments.rounds} pairs; LoRA r 16 on all linear modules; decoding {arguments.decode_tokens} tokens greedily after 32, batch 1. "
             f"Ours trains in {TRAIN_PRECISION} with fp32 master weights, deterministic, nothing recomputed but norms and SwiGLU products; a peer in plain bf16 has no master weights.", "",
             "| what | ours tok/s | peer tok/s | speed ratio | our peak RSS GiB | peer peak RSS GiB | memory ratio |", "|---|---|---|---|---|---|---|"]
    for r in rows:
        lines.append(f"| {r['mode']} ({r['our_setting']} against {r['their_setting']}) | {r['ours']:.1f} | {r['theirs']:.1f} | {spread(r['speed'])} "
                     f"| {r['our_rss'] / 2**30:.2f} | {r['their_rss'] / 2**30:.2f} | {spread(r['memory'])} |")
    lines += utilisation(rows, peaks)
    gaps = [f"{mode} {100 * loss_gap(mode):.2f} %" for mode in ("full", "lora") if any(r["mode"] == mode for r in rows)]
    if gaps:
        lines += ["", f"Largest difference of the losses of both sides: {', '.join(gaps)}."]
    out = ROOT / arguments.out
    (out / "benchmarks").mkdir(parents=True, exist_ok=True)
    (out / "benchmarks.md").write_text("\n".join(lines) + "\n")
    with open(out / "benchmarks/samples.jsonl", "w") as file:
        for row in samples:
            file.write(json.dumps(row) + "\n")
    print((out / "benchmarks.md").read_text())


load_at_start = os.getloadavg()[0]
prepare_tokens()
wanted = set(arguments.only.split(",")) if arguments.only else {"full", "lora", "decode", "ranks"}
peaks = measured_peaks()
results = []
for mode in ("full", "lora"):
    if mode in wanted:
        results.append(compare(mode, (TRAIN_PRECISION, lambda m=mode: ours(m, TRAIN_PRECISION)),
                               [(d, lambda limit_s=None, m=mode, d=d: theirs(m, d, limit_s)) for d in ("fp32", "bf16", "autocast")]))
if "decode" in wanted:
    results.append(compare("decode", ("bf16", lambda: our_decode("bf16")), [(d, lambda limit_s=None, d=d: theirs("decode", d, limit_s)) for d in ("fp32", "bf16")]))
if "ranks" in wanted:
    results.append(compare("ranks", ("2 ranks x 1 thread", lambda: ours("full", TRAIN_PRECISION, dp=2, threads=1)),
                           [("1 rank x 2 threads", lambda: ours("full", TRAIN_PRECISION))]))
write(results, peaks)
shutil.rmtree(work)
