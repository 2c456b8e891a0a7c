"""Converts, merges and verifies a model that is larger than the memory it may use: all within a cgroup's limit.

    bounded_memory.py PHALANX [--bytes 8e9] [--limit 2e9] [--folder DIR] [--ranks 2]

Makes a Llama of random bf16 weights (random_model.py), runs each command in a memory cgroup (version 1 or 2; needs root),
prints peak anonymous memory against 3 x the largest tensor + 300 MB, and removes everything. Exit code 77 where no cgroup
can be made.
"""
import argparse
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
parser = argparse.ArgumentParser()
parser.add_argument("phalanx", type=pathlib.Path)
parser.add_argument("--bytes", type=float, default=8e9)
parser.add_argument("--limit", type=float, default=2e9)
parser.add_argument("--folder", type=pathlib.Path, default=None)
parser.add_argument("--ranks", type=int, default=2)
parser.add_argument("--base", type=pathlib.Path, help="a model that random_model.py has made, which stays")
parser.add_argument("--only", default="", help="part of the command line of those to run")
arguments = parser.parse_args()


def make_cgroup():
    name = f"phalanx-memory-{os.getpid()}"
    for base, limit_file, peak_file in ((pathlib.Path("/sys/fs/cgroup"), "memory.max", "memory.peak"),
                                        (pathlib.Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes",
                                         "memory.max_usage_in_bytes")):
        group = base / name
        try:
            group.mkdir()
            (group / limit_file).write_text(str(int(arguments.limit)))
            return group, group / peak_file
        except OSError:
            if group.is_dir():
                group.rmdir()
    print("SKIP: no memory cgroup can be made here (root, with a writable /sys/fs/cgroup)")
    sys.exit(77)


def anonymous_bytes(group):
    total = 0
    for pid in (group / "cgroup.procs").read_text().split():
        try:
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        mine = [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon")]
        total = max([total] + mine)
    return total


def tensor_bytes(model):
    total = largest = 0
    for path in model.glob("*.safetensors"):
        with open(path, "rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        sizes = [end - begin for begin, end in (tensor["data_offsets"] for tensor in header.values())]
        total, largest = total + sum(sizes), max(largest, *sizes)
    return total, largest


def run(group, words):
    begin, peak = time.time(), 0
    process = subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())))
    while process.poll() is None:
        peak = max(peak, anonymous_bytes(group))
        time.sleep(0.01)
    return process.returncode, peak, time.time() - begin, process.stderr.read()


group, peak_file = make_cgroup()
folder = pathlib.Path(tempfile.mkdtemp(prefix="phalanx-memory-", dir=arguments.folder))
failed = []
try:
    base = (arguments.base or folder / "base").resolve()
    if not arguments.base:
        layers = max(1, round((arguments.bytes - 524e6) / 354.4e6))
        subprocess.run([sys.executable, HERE / "random_model.py", base, ROOT / "tests/launch/fixture/tokenizer",
                        f"num_hidden_layers={layers}"], check=True, stdout=subprocess.DEVNULL)
    total, largest = tensor_bytes(base)
    allowed = 3 * largest + 300_000_000
    print(f"model of {total / 1e9:.2f} GB, largest tensor {largest / 1e6:.0f} MB: at most {allowed / 1e6:.0f} MB; "
          f"cgroup limit {arguments.limit / 1e9:.1f} GB", flush=True)
    program = [str(arguments.phalanx.resolve())]
    several = ["mpirun", "-n", str(arguments.ranks), "--oversubscribe", "--allow-run-as-root", "--bind-to", "none"]
    commands = [program + ["export", str(base), "hf"],
                program + ["verify", "export", str(base), "hf"],
                program + ["export", str(base), "q4_k_m.gguf", "--to", "gguf", "--outtype", "q4_k_m"],
                program + ["import", "q4_k_m.gguf", "imported", "--outtype", "bf16"],
                program + ["merge", str(base), str(base) + "-adapter", "merged"],
                program + ["merge", str(base), str(base) + "-adapter", "merged.gguf", "--to", "gguf", "--outtype", "q8_0"],
                several + program + ["export", str(base), "hf2"]]
    for words in commands:
        text = " ".join(pathlib.Path(word).name for word in words[words.index(program[0]) + 1:])
        if arguments.only not in text:
            continue
        code, peak, seconds, errors = run(group, words)
        label = text if words[0] == program[0] else f"{arguments.ranks} ranks: {text}"
        print(f"{'ok  ' if code == 0 and peak <= allowed else 'FAIL'} {label:58} exit {code}  peak {peak / 1e6:6.0f} MB "
              f"({100 * peak / allowed:3.0f} %)  {seconds:5.0f} s", flush=True)
        if code != 0 or peak > allowed:
            failed.append(label)
            print(errors[-2000:])
        for made in ("imported", "merged", "merged.gguf", "hf2"):  # what no later command reads
            shutil.rmtree(folder / made, ignore_errors=True)
            (folder / made).unlink(missing_ok=True)
finally:
    shutil.rmtree(folder, ignore_errors=True)
    group.rmdir()
sys.exit(1 if failed else 0)
