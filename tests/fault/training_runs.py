"""A toy training run over two MPI ranks for the fault drivers, and the three checks that every trial ends in:

C1  nothing lost: the run resumes from the newest checkpoint that was announced, or a newer one;
C2  bits: every tensor of the last checkpoint and every step's loss are those of the undisturbed run;
C3  data exactly once: the ids of the records trained in each step are those of the undisturbed run.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

FIXTURE = pathlib.Path(__file__).resolve().parents[1] / "launch/fixture"
STEPS, EVERY = 24, 4
CONFIG = f"""run:        {{name: toy, output_dir: run, seed: 3, threads: 1}}
model:      {{family: llama, hidden_size: 48, intermediate_size: 96, num_hidden_layers: 2, num_attention_heads: 4,
             num_key_value_heads: 2, tie_word_embeddings: true, tokenizer: tokenizer}}
data:       {{train: [{{path: train.jsonl}}], sequence_length: 64, packing: true, cache_dir: cache}}
optimizer:  {{learning_rate: 1.0e-2}}
schedule:   {{name: cosine, warmup_steps: 3}}
train:      {{max_steps: {STEPS}, global_batch_size: 8, micro_batch_size: 2, precision: fp32}}
parallel:   {{dp: 2}}
checkpoint: {{every_steps: {EVERY}, keep_last: 2}}
log:        {{record_ids: true}}
"""
ENVIRONMENT = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_mpi_yield_when_idle": "1",
               "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_hwloc_base_binding_policy": "none", "OMP_NUM_THREADS": "1"}


class Place:
    """A folder with the toy run in it."""

    config, steps = CONFIG, STEPS

    def __init__(self, folder, program):
        self.folder, self.program = pathlib.Path(folder).resolve(), str(pathlib.Path(program).resolve())
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(FIXTURE, self.folder)
        (self.folder / "toy.yaml").write_text(self.config)

    def start(self, command=None):
        return subprocess.Popen(command or self.command(), cwd=self.folder, env=ENVIRONMENT, stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=open(self.folder / "stderr", "a"), start_new_session=True)

    def command(self):
        return [self.program, "train", "toy.yaml"]

    def finish(self, limit_s=60):
        """Runs to the end; the exit code, or None for a hang."""
        process = self.start()
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            return None

    def wait_until_left(self, limit_s=30):
        """Until no process works in the folder."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline and any(works_in(entry, self.folder) for entry in pathlib.Path("/proc").iterdir()):
            time.sleep(0.05)

    def rows(self):
        path = self.folder / "run/metrics.jsonl"
        text = path.read_text() if path.exists() else ""
        rows = [json.loads(line) for line in text.split("\n")[:-1]]  # without a line that is being written
        return [row for row in rows if "loss" in row]

    def committed(self):
        """Steps of the checkpoints that bear their final name."""
        folder = self.folder / "run/checkpoints"
        names = [path.name for path in folder.iterdir()] if folder.exists() else []
        return sorted(int(match[1]) for match in (re.fullmatch(r"step_(\d+)", name) for name in names) if match)

    def errors(self):
        return (self.folder / "stderr").read_text(errors="replace")

    def resumed(self):
        """The step that the last life went on from."""
        found = re.findall(r"resumed from \S+ after step (\d+)", self.errors())
        return int(found[-1]) if found else 0

    def outcome(self):
        """What must be equal between a disturbed run and an undisturbed one."""
        manifest = json.loads((self.folder / f"run/checkpoints/step_{self.steps}/MANIFEST.json").read_text())
        hashes = sorted(json.dumps(tensor, sort_keys=True) for tensor in find(manifest, "tensors"))
        keep = ("step", "loss", "grad_norm", "learning_rate", "num_tokens", "record_ids")
        final = (self.folder / "run/final/model.safetensors").read_bytes()
        return {"tensors": hashes, "rows": [{key: row[key] for key in keep} for row in self.rows()], "final": final}


def find(value, key):
    """The lists under `key`, wherever it is, joined."""
    if isinstance(value, list):
        return [item for part in value for item in find(part, key)]
    if not isinstance(value, dict):
        return []
    here = value.get(key, [])
    return (here if isinstance(here, list) else []) + [item for name, part in value.items() if name != key for item in find(part, key)]


def works_in(entry, folder):
    """Whether /proc/PID is of a process in this folder."""
    try:
        return entry.name.isdigit() and pathlib.Path(os.readlink(entry / "cwd")) == folder
    except OSError:
        return False


def processes_under(root_pid):
    """A process and all that it has started, directly or not."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry.name))
            except OSError:
                continue
    found, todo = [], [root_pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def rank_processes(root_pid):
    """{rank: pid} of the ranks under a process."""
    ranks = {}
    for pid in processes_under(root_pid):
        try:
            variables = (pathlib.Path("/proc") / str(pid) / "environ").read_bytes().split(b"\0")
            name = os.readlink(f"/proc/{pid}/exe")
        except OSError:
            continue
        rank = next((v.partition(b"=")[2] for v in variables if v.startswith(b"OMPI_COMM_WORLD_RANK=")), None)
        if rank is not None and name.endswith("phalanx"):
            ranks[int(rank)] = pid
    return ranks


def kill_at(place, generator, instant_s):
    """Starts the run and after a while kills a random rank or the launcher; what happened. The run may have ended before."""
    process = place.start()
    deadline = time.monotonic() + instant_s
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.002)
    ranks = rank_processes(process.pid)
    ranks["launcher"] = process.pid  # the process that the user started; its ranks save and end
    victim = generator.choice(sorted(ranks, key=str)) if len(ranks) > 1 else None
    if victim is not None:
        os.kill(ranks[victim], 9)
    elif process.poll() is None:  # mpirun has not started them yet
        os.killpg(process.pid, 9)
    killed = time.monotonic()
    process.wait(30)
    place.wait_until_left()  # a launcher that was killed leaves its ranks a moment to end
    return {"instant_s": round(instant_s, 3), "victim": victim, "exit": process.returncode,
            "noticed_s": round(time.monotonic() - killed, 2)}


def check(place, reference, committed_before):
    """None, or what is wrong after the run was started again and ended."""
    if committed_before and place.resumed() < max(committed_before):
        return f"C1: resumed after step {place.resumed()} although step {max(committed_before)} was committed"
    found = place.outcome()
    if found["tensors"] != reference["tensors"] or found["final"] != reference["final"]:
        return "C2: the last checkpoint or the final model has other bits"
    for mine, theirs in zip(found["rows"], reference["rows"]):
        if mine["record_ids"] != theirs["record_ids"]:
            return f"C3: step {theirs['step']} was trained on other records"
        if mine != theirs:
            return f"C2: step {theirs['step']} has other numbers"
    if len(found["rows"]) != len(reference["rows"]):
        return f"C3: {len(found['rows'])} steps in metrics.jsonl, not {len(reference['rows'])}"
    left = [path.name for path in (place.folder / "run/checkpoints").iterdir() if "partial" in path.name or "rejected" in path.name]
    return f"left behind: {', '.join(left)}" if left else None


def undisturbed(folder, program):
    """(outcome, seconds) of a run that nobody touches."""
    place = Place(folder, program)
    start = time.monotonic()
    code = place.finish()
    if code != 0:
        raise SystemExit(f"the undisturbed run exits {code}: {place.errors()[-2000:]}")
    return place.outcome(), time.monotonic() - start


class Report:
    """One JSON line a trial; ends with "N passed, N failed"."""

    def __init__(self):
        self.passed = self.failed = 0

    def add(self, problem, **facts):
        self.passed, self.failed = self.passed + (problem is None), self.failed + (problem is not None)
        print(json.dumps({**facts, "passed": problem is None, **({"problem": problem} if problem else {})}), flush=True)

    def finish(self, note=""):
        print(f"{self.passed} passed, {self.failed} failed{note}")
        raise SystemExit(0 if self.passed and not self.failed else 1)
