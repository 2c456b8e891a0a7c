#!/usr/bin/env python3
"""One rank of a run stops (SIGSTOP), is killed (SIGKILL), or meets an error, in the middle of every parallel scheme: the others must end
within the limit, and where they can say something, say which rank and which call; nothing may hang.

Usage: stop_ranks.py PROGRAM      prints one JSON line per trial and ends with "N passed, N failed"
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from training_runs import ENVIRONMENT, Place  # noqa: E402

TIMEOUT_S = 4  # parallel.timeout_s of these runs
GRACE_S = 20  # for the rest: starting ranks, ending them
MESHES = {
    "dp": ["parallel.dp=2"],
    "zero 1": ["parallel.dp=2", "parallel.zero_stage=1"],
    "zero 3": ["parallel.dp=2", "parallel.zero_stage=3"],
    "tp": ["parallel.dp=1", "parallel.tp=2"],
    "tp sp": ["parallel.dp=1", "parallel.tp=2", "parallel.sequence_parallel=true"],
    "pp": ["parallel.dp=1", "parallel.pp=2"],
    "cp ring": ["parallel.dp=1", "parallel.cp=2"],
    "cp ulysses": ["parallel.dp=1", "parallel.cp=2", "parallel.context_parallel=ulysses"],
}
FAULTS = {"stop": signal.SIGSTOP, "kill": signal.SIGKILL}


def ranks_of(launcher):
    """Process ids of the ranks, children of the mpirun that the program has started, by rank."""
    found = {}
    for folder in pathlib.Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            group = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[2])
        except (OSError, ValueError):
            continue
        values = dict(item.split(b"=", 1) for item in environment if b"=" in item)
        if b"OMPI_COMM_WORLD_RANK" in values and int(values.get(b"PHALANX_TRIAL", b"0")) == launcher:
            found[int(values[b"OMPI_COMM_WORLD_RANK"])] = (int(folder.name), group)
    return {rank: pid for rank, (pid, _) in found.items()}


def trial(place, mesh, fault, number):
    sets = [*MESHES[mesh], f"parallel.timeout_s={TIMEOUT_S}", "run.output_dir=run", "train.max_steps=100000",
            "checkpoint.every_steps=0"]
    words = place.command()
    for item in sets:
        words += ["--set", item]
    subprocess.run(["rm", "-rf", str(place.folder / "run")], check=True)
    (place.folder / "stderr").write_text("")
    process = subprocess.Popen(words, cwd=place.folder, env={**ENVIRONMENT, "PHALANX_TRIAL": str(number)}, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=open(place.folder / "stderr", "a"), start_new_session=True)
    result = {"mesh": mesh, "fault": fault, "passed": False}
    begin = time.monotonic()
    while len(place.rows()) < 3 and process.poll() is None and time.monotonic() - begin < 60:
        time.sleep(0.05)
    ranks = ranks_of(number)
    if len(ranks) != 2 or process.poll() is not None:
        result["why"] = f"did not start: {place.errors()[-300:]}"
        return result
    os.kill(ranks[1], FAULTS[fault])
    struck = time.monotonic()
    try:
        result["exit"] = process.wait(TIMEOUT_S + GRACE_S)
        result["seconds"] = round(time.monotonic() - struck, 1)
    except subprocess.TimeoutExpired:
        result["why"] = "hangs"
    for pid in ranks.values():
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    process.poll()
    text = place.errors()
    # A killed rank is reported by the launcher; a stopped one by the rank that waited for it.
    named = "rank 1" in text and "error:" in text if fault == "stop" else True
    result["said"] = next((line for line in text.splitlines() if "error:" in line), "")[:200]
    result["passed"] = "exit" in result and result["exit"] not in (0, None) and named
    return result


def main():
    program = sys.argv[1]
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        place = Place(pathlib.Path(folder) / "place", program)
        number = os.getpid() * 100
        for mesh in MESHES:
            for fault in FAULTS:
                number += 1
                result = trial(place, mesh, fault, number)
                passed, failed = passed + result["passed"], failed + (not result["passed"])
                print(json.dumps(result), flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
