#!/usr/bin/env python3
"""Two hosts made of network namespaces, TCP between them: a pipeline over hosts and data parallelism inside each, started by
mpirun's remote shell. The run must end with the bits of the same run on one host, and place the ranks of a host together.

Usage: two_hosts.py PROGRAM       exit 77 where the kernel lends no namespaces
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from training_runs import ENVIRONMENT, Place  # noqa: E402

SETS = ["parallel.dp=2", "parallel.pp=2", "run.determinism=mesh_invariant", "train.max_steps=10", "checkpoint.every_steps=10"]

# Inside a mount and network namespace of its own: a bridge, and one namespace per host on it.
NETWORK = """
set -e
mkdir -p /run/netns; mount -t tmpfs none /run/netns; ip link set lo up
ip link add bridge0 type bridge; ip link set bridge0 up
for host in 1 2; do
  ip netns add host$host
  ip link add port$host type veth peer name eth0 netns host$host
  ip link set port$host master bridge0 up
  ip -n host$host addr add 10.9.0.$host/24 dev eth0
  ip -n host$host link set eth0 up; ip -n host$host link set lo up
done
ip netns exec host1 unshare -u sh -c 'hostname host1; exec "$@"' host1 "$@" || exit $?
exit 0  # this shell stays until then: the bridge goes with the last process of its namespace
"""
SHELL = """#!/bin/bash
address=$1; shift
number=${address##*.}
exec ip netns exec host$number unshare -u sh -c "hostname host$number; export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; $*"
"""


def words_of(place, output):
    words = place.command()
    for item in [*SETS, f"run.output_dir={output}"]:
        words += ["--set", item]
    return words


def tensors(place, output):
    manifest = json.loads((place.folder / output / "checkpoints/step_10/MANIFEST.json").read_text())
    text = json.dumps(manifest)
    found = []

    def visit(value):
        if isinstance(value, dict):
            if "pieces" in value and "name" in value:
                found.append((value["name"], json.dumps([piece.get("digest") for piece in value["pieces"]])))
            for item in value.values():
                visit(item)
        elif isinstance(value, list):
            for item in value:
                visit(item)

    visit(json.loads(text))
    return sorted(found)


def run_on_hosts(place, words, limit_s=120):
    """Exit code and output. Through a file: daemons of the launcher may keep a pipe open for longer than the job."""
    with open(place.folder / "hosts.txt", "w+", encoding="utf-8") as output:
        process = subprocess.Popen(["unshare", "-mn", "bash", "-c", NETWORK, "hosts", *words], cwd=place.folder, env=ENVIRONMENT,
                                   stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            code = -1
        output.seek(0)
        return code, output.read()


def main():
    program = sys.argv[1]
    probe = subprocess.run(["unshare", "-mn", "bash", "-c", NETWORK, "probe", "true"], capture_output=True, text=True)
    if os.geteuid() != 0 or shutil.which("ip") is None or probe.returncode != 0:
        print(f"skipped: no network namespaces here ({probe.stderr.strip()[:100]})")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        place = Place(pathlib.Path(folder) / "place", program)
        shell = place.folder / "shell.sh"
        shell.write_text(SHELL)
        shell.chmod(0o755)
        one = subprocess.run(words_of(place, "one"), cwd=place.folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
        if one.returncode != 0:
            sys.exit(f"one host: exit {one.returncode}\n{one.stderr}")
        mpirun = ["mpirun", "--mca", "plm", "rsh", "--mca", "plm_rsh_agent", str(shell), "--mca", "plm_rsh_no_tree_spawn", "1",
                  "--mca", "pml", "ob1", "--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", "10.9.0.0/24",
                  "--mca", "oob_tcp_if_include", "10.9.0.0/24", "--bind-to", "none", "--tag-output",
                  "-H", "10.9.0.1:2,10.9.0.2:2", "--wdir", str(place.folder)]
        code, text = run_on_hosts(place, [*mpirun, "hostname"])
        print(text.strip())
        code, text = run_on_hosts(place, [*mpirun, *words_of(place, "two")])
        if code != 0:
            sys.exit(f"two hosts: exit {code}\n{text}")
        a, b = tensors(place, "one"), tensors(place, "two")
        rows = (place.folder / "one/metrics.jsonl").read_text(), (place.folder / "two/metrics.jsonl").read_text()
        losses = [[json.loads(line).get("loss") for line in text.splitlines()] for text in rows]
        if not a or a != b or losses[0] != losses[1]:
            sys.exit(f"the bits differ: {len(a)} and {len(b)} tensors, losses {losses}")
        print(f"{len(a)} tensors and {len(losses[0])} losses with equal bits on one host and on two")


if __name__ == "__main__":
    main()
