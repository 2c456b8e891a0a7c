#!/usr/bin/env python3
"""SIGKILL of one rank of a training run at a file-system call of a checkpoint: every call that rank makes on its checkpoint
folders, or every n-th from a printed offset. SIGKILL strikes before the call has any effect. Then the run is started again and
must end with the bits of the undisturbed one (training_runs.py: C1-C3).

    kill_calls.py PHALANX [--every N] [--offset N]       (every call with PHALANX_FULL=1)
"""
import argparse
import collections
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

from training_runs import EVERY, Place, Report, check, undisturbed

CALLS = "openat ftruncate fallocate pwrite64 write fsync fdatasync rename renameat renameat2 unlink unlinkat mkdir link".split()
KILL_AT = 3 * EVERY  # the third checkpoint: one is kept, one is pruned

parser = argparse.ArgumentParser()
parser.add_argument("program")
parser.add_argument("--every", type=int, default=1 if os.environ.get("PHALANX_FULL") else 12)
parser.add_argument("--offset", type=int)
arguments = parser.parse_args()
offset = arguments.offset if arguments.offset is not None else random.randrange(arguments.every)


def paths(place):
    """What a rank touches in its checkpoints, in the first life of a run."""
    top = place.folder / "run/checkpoints"
    found = [top, top / "LEASE", top / "LEASE.1"]
    for step in (KILL_AT, KILL_AT - 2 * EVERY):
        for folder in (top / f"step_{step}.1.partial", top / f"step_{step}"):
            found += [folder] + [folder / name for name in ("shard_0.h5", "shard_1.h5", "index.h5", "MANIFEST.json")]
    return [option for path in found for option in ("-P", str(path))]


def traced(place, rank, strace):
    """mpirun of the two ranks, one of them under strace."""
    plain, under = place.command(), strace + place.command()
    order = [under, plain] if rank == 0 else [plain, under]
    return ["mpirun", "-n", "1", *order[0], ":", "-n", "1", *order[1]]


def count_calls(place, rank):
    """[(call, n)]: the calls of the thread that makes most, as strace counts them."""
    trace = str(place.folder / "calls")
    process = place.start(traced(place, rank, ["strace", "-f", "-o", trace, *paths(place), "-e", "trace=" + ",".join(CALLS)]))
    if process.wait(120) != 0:
        sys.exit(f"the traced run exits {process.returncode}: {place.errors()[-2000:]}")
    counts = collections.Counter()
    for line in open(trace, errors="replace"):
        match = re.match(r"(\d+) +(\w+)\(", line)
        if match:
            counts[match[1], match[2]] += 1
    most = collections.Counter()
    for (_, call), count in counts.items():
        most[call] = max(most[call], count)
    return [(call, n) for call in CALLS for n in range(1, most[call] + 1)]


if not shutil.which("strace") or subprocess.run(["strace", "-o", "/dev/null", "true"]).returncode != 0:
    print("skipped: no strace, or it may not trace here")
    sys.exit(77)
with tempfile.TemporaryDirectory(prefix="phalanx_calls_") as work:
    reference, _ = undisturbed(f"{work}/reference", arguments.program)
    places = [(rank, call, n) for rank in (0, 1) for call, n in count_calls(Place(f"{work}/trial", arguments.program), rank)]
    report = Report()
    for rank, call, n in places[offset::arguments.every]:
        place = Place(f"{work}/trial", arguments.program)
        strace = ["strace", "-f", "-o", "/dev/null", *paths(place), "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={n}"]
        process = place.start(traced(place, rank, strace))
        exit_code = process.wait(60)
        committed = place.committed()
        if exit_code == 0:
            problem = "was not killed"
        else:
            code = place.finish()
            problem = f"the next life exits {code}: {place.errors()[-500:]}" if code != 0 else check(place, reference, committed)
        report.add(problem, fault="kill -9", rank=rank, place=f"{call} {n}", exit=exit_code, committed=committed, resumed=place.resumed())
    report.finish(f" (every {arguments.every}th of {len(places)} places from {offset})")
