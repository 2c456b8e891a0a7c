#!/usr/bin/env python3
"""Faults of a run that learns from sampled answers, each aimed at a phase of a step: the rollouts, their scoring by a program, or the
update.

- `kill -9` of a rank or of the launcher, some of them three deep: the restarted run is killed as well, and once more;
- a stop signal to the launcher: saved and exit 75;
- the file of a generation torn at a random byte of its last record, or damaged before it (exit 65, naming the line);
- `kill -9` of the program that scores: its answers have no reward, and the run goes on.

Then the run is started again and must end as the undisturbed one (training_runs.py: C1-C3). C3 holds for answers, too: each generation
has the same prompts, answers and rewards, to the last bit, and each step is trained once on the same prompts.

    kill_rollouts.py PHALANX [--trials N] [--seed S]        (30 trials with PHALANX_FULL=1)
"""
import argparse
import json
import os
import pathlib
import random
import signal
import tempfile
import time

from training_runs import Place, Report, check, kill_at, rank_processes

STEPS, EVERY = 8, 3
SCORING = """import json, sys, time
samples = [json.loads(line) for line in sys.stdin]
time.sleep(SECONDS)
for sample in samples:
    print(json.dumps({"id": sample["id"], "reward": sum(map(ord, sample["completion"])) % 17 / 17}))
"""
CONFIG = f"""run:        {{name: toy, output_dir: run, seed: 3, threads: 1}}
model:      {{family: llama, hidden_size: 48, intermediate_size: 96, num_hidden_layers: 2, num_attention_heads: 4,
             num_key_value_heads: 2, tie_word_embeddings: true, tokenizer: tokenizer}}
data:       {{train: [{{path: prompts.jsonl}}]}}
method:     {{name: grpo, num_generations: 4, max_completion_length: TOKENS}}
reward:     {{max_unscorable: 1, terms: [{{name: program, command: [python3, -S, score.py], num_parallel: 2, samples_per_run: 8, timeout_s: 60}}]}}
optimizer:  {{learning_rate: 1.0e-3}}
train:      {{max_steps: {STEPS}, global_batch_size: 16, micro_batch_size: 4, precision: fp32}}
parallel:   {{dp: 2}}
checkpoint: {{every_steps: {EVERY}, keep_last: 2}}
log:        {{record_ids: true}}
"""
# phase, what is struck, how many lives are killed, what happens to the newest generation's file
TRIALS = [
    ("rollouts", "rank", 1, None),
    ("scoring", "launcher", 1, None),
    ("update", "rank", 3, "torn"),
    ("scoring", "program", 1, None),
    ("rollouts", "SIGUSR1", 1, None),
    ("scoring", "rank", 1, "damaged"),
    ("rollouts", "launcher", 1, None),
    ("scoring", "SIGTERM", 1, None),
    ("update", "launcher", 1, "torn"),
    ("scoring", "rank", 3, None),
    ("rollouts", "rank", 3, "torn"),
    ("update", "rank", 1, None),
    ("update", "SIGINT", 1, None),
]
QUICK_S = 5  # from a stop signal to the end of the process; what it interrupts would take a minute

parser = argparse.ArgumentParser()
parser.add_argument("program")
parser.add_argument("--trials", type=int, default=30 if os.environ.get("PHALANX_FULL") else 4)
parser.add_argument("--seed", type=int, default=1)
arguments = parser.parse_args()


class OnlinePlace(Place):
    config, steps = CONFIG.replace("TOKENS", "64"), STEPS
    scoring_s = 0.1

    def __init__(self, folder, program):
        super().__init__(folder, program)
        (self.folder / "score.py").write_text(SCORING.replace("SECONDS", str(self.scoring_s)))
        (self.folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"{i} + {i % 7}"}) + "\n" for i in range(40)))

    def generation(self, number):
        return self.folder / f"run/rollouts/generation_{number:06}.jsonl"

    def outcome(self):
        rollouts = {path.name: path.read_text() for path in sorted((self.folder / "run/rollouts").iterdir())}
        return {**super().outcome(), "rollouts": rollouts}


class LongRollouts(OnlinePlace):  # 256 answers on each rank, one after the other
    config = (CONFIG.replace("TOKENS", "1500").replace("num_generations: 4", "num_generations: 64")
              .replace("global_batch_size: 16", "global_batch_size: 512") + "rollout:    {max_batch_size: 1}\n")


class LongScoring(OnlinePlace):
    config = OnlinePlace.config
    scoring_s = 60


def scorers(rank_0):
    """The processes that a rank has started."""
    try:
        tasks = list(pathlib.Path(f"/proc/{rank_0}/task").iterdir())
    except OSError:
        return []
    found = []
    for task in tasks:
        try:
            found += [int(pid) for pid in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def left_scorers(place):
    """Scoring programs of this place that still run a second after everything else has ended."""
    for _ in range(20):
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                found += [entry.name] if str(place.folder / "score.py").encode() in (entry / "cmdline").read_bytes() else []
            except OSError:
                continue
        if not found:
            break
        time.sleep(0.05)
    return found


class Life:
    """A started run, watched from outside."""

    def __init__(self, place):
        self.place, self.first_step = place, len(place.rows())
        self.process, self.ranks = place.start(), {}

    def find_ranks(self):
        if len(self.ranks) < 2:
            self.ranks = rank_processes(self.process.pid)
        return self.ranks

    def phase(self, step):
        """Of the step behind `step` others, or None if it is not at work."""
        if len(self.place.rows()) != step or 0 not in self.find_ranks():
            return None
        if self.place.generation(step).exists():
            return "update"
        return "scoring" if scorers(self.ranks[0]) else "rollouts"

    def wait_for(self, phase, step, limit_s=30):
        """Until `phase` of that step begins. False if the run has ended or gone past it."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline and self.process.poll() is None and len(self.place.rows()) <= step:
            if self.phase(step) == phase:
                return True
            time.sleep(0.001)
        return False

    def end(self, limit_s=30):
        """Seconds until no process of it is left; its exit code is in process.returncode."""
        begin = time.monotonic()
        self.process.wait(limit_s)
        seconds = time.monotonic() - begin
        self.place.wait_until_left()
        return round(seconds, 2)


def undisturbed(folder):
    """(outcome, seconds of each phase, seconds until the first step is done) of a run that is only watched."""
    life, spent, last = Life(OnlinePlace(folder, arguments.program)), {}, time.monotonic()
    begin, start_s = last, 0
    while life.process.poll() is None:
        step = len(life.place.rows())
        start_s = start_s or (step and time.monotonic() - begin)
        phase, now = life.phase(step), time.monotonic()
        if step:
            spent[phase] = spent.get(phase, 0) + now - last
        last = now
        time.sleep(0.001)
    life.end()
    if life.process.returncode != 0:
        raise SystemExit(f"the undisturbed run exits {life.process.returncode}: {life.place.errors()[-2000:]}")
    return life.place.outcome(), {phase: seconds / (STEPS - 1) for phase, seconds in spent.items() if phase}, start_s


def strike(life, victim, generator):
    """Kills or signals; the name of who was struck."""
    if victim.startswith("SIG"):
        os.kill(life.process.pid, getattr(signal, victim))
        return victim
    if victim == "program":
        pids = scorers(life.ranks[0])
        os.kill(generator.choice(pids), 9)
        return victim
    rank = generator.choice(sorted(life.ranks))
    os.kill(life.process.pid if victim == "launcher" else life.ranks[rank], 9)
    return victim if victim == "launcher" else f"rank {rank}"


def aimed(place, phase, victim, windows, generator):
    """One life that is struck in a phase of a random step."""
    life = Life(place)
    step = generator.randrange(1, STEPS)
    facts = {"step": step + 1, "reached": life.wait_for(phase, step)}
    if victim != "program":  # which must still be there
        time.sleep(generator.uniform(0, windows.get(phase, 0.05)))
    facts["in"] = life.phase(len(place.rows()))
    facts["struck"] = strike(life, victim, generator) if life.process.poll() is None and life.ranks else None
    facts["noticed_s"], facts["exit"] = life.end(), life.process.returncode
    return facts


def harm_newest(place, harm, generator):
    """Tears or damages the file of the newest generation, if it is needed again because no checkpoint has gone past it; (path, byte)."""
    path = max((place.folder / "run/rollouts").glob("generation_*.jsonl"))
    if int(path.stem[-6:]) < max(place.committed(), default=0):
        return None
    text = path.read_bytes()
    last = text.rstrip(b"\n").rindex(b"\n") + 1
    if harm == "torn":
        at = generator.randrange(last, len(text) - 1)  # one byte later the record is whole
        path.write_bytes(text[:at])
    else:
        at = generator.randrange(text.index(b"\n") + 2, last - 2)
        path.write_bytes(text[:at] + bytes([text[at] ^ 1]) + text[at + 1:])
    return path, at


def restart(place, reference, committed, damaged_file):
    """Runs to the end; what is wrong, or None."""
    code = place.finish()
    if damaged_file:
        if code != 65 or f"{damaged_file.name}: line " not in place.errors():
            return f"a damaged generation is not refused: exit {code}: {place.errors()[-300:]}"
        damaged_file.unlink()
        code = place.finish()
    if code != 0:
        return f"the next life exits {code}: {place.errors()[-500:]}"
    problem = check(place, reference, committed)
    if problem:
        return problem
    found = place.outcome()["rollouts"]
    different = [name for name in reference["rollouts"] if found.get(name) != reference["rollouts"][name]]
    return f"C3: other answers in {', '.join(different)}" if different or len(found) != len(reference["rollouts"]) else None


def check_unscored(place, reference, step):
    """What a scorer that was killed in a step may change: nothing before, and then the rewards of its answers alone."""
    rows, theirs = place.rows(), reference["rows"]
    if [row["record_ids"] for row in rows] != [row["record_ids"] for row in theirs]:
        return "C3: other prompts"
    if [row["loss"] for row in rows[:step]] != [row["loss"] for row in theirs[:step]]:
        return "C2: other losses before the step"
    groups = [[json.loads(line) for line in text.splitlines()[1:]]
              for text in (place.generation(step).read_text(), reference["rollouts"][place.generation(step).name])]
    if [group["completion_ids"] for group in groups[0]] != [group["completion_ids"] for group in groups[1]]:
        return "C3: other answers in the step"
    unscored = 0
    for mine, other in zip(*groups):
        unscored += mine["rewards"].count(None)
        if any(reward not in (None, expected) for reward, expected in zip(mine["rewards"], other["rewards"])):
            return "an answer has another reward"
    return None if unscored == 8 else f"{unscored} answers have no reward, not the 8 of one program"


def run_trial(number, reference, windows, start_s):
    phase, victim, depth, harm = TRIALS[number % len(TRIALS)]
    generator = random.Random(f"{arguments.seed}/{number}")
    place = OnlinePlace(f"{work}/trial", arguments.program)
    begin = time.monotonic()
    kills = [aimed(place, phase, victim, windows, generator)]
    kills += [kill_at(place, generator, generator.uniform(0, 2 * start_s)) for _ in range(depth - 1)]
    committed, left = place.committed(), left_scorers(place)
    facts = {"place": phase, "victim": victim, "kills": kills, "committed": committed}
    struck = kills[0]["struck"]
    if left:
        problem = f"{len(left)} scoring programs outlive the run"
    elif struck == "program":
        exit_code = kills[0]["exit"]
        problem = f"the run exits {exit_code}" if exit_code else check_unscored(place, reference, kills[0]["step"] - 1)
    elif struck and struck.startswith("SIG") and kills[0]["exit"] not in (75, 0):
        problem = f"exit {kills[0]['exit']} after {struck}"
    else:
        harmed = harm_newest(place, harm, generator) if harm else None
        if harmed:
            facts[harm] = {"file": harmed[0].name, "byte": harmed[1]}
        problem = restart(place, reference, committed, harmed[0] if harmed and harm == "damaged" else None)
    facts.update(resumed=place.resumed(), seconds=round(time.monotonic() - begin, 1))
    return problem, facts


def stop_promptly(kind, phase, signal_name):
    """A stop signal in the middle of something long: saved and ended at once."""
    place = kind(f"{work}/trial", arguments.program)
    life = Life(place)
    reached = life.wait_for(phase, 0)
    time.sleep(0.5)
    os.kill(life.process.pid, getattr(signal, signal_name))
    seconds = life.end(60)
    code, rows = life.process.returncode, len(place.rows())
    problem = None
    if not reached or rows:
        problem = f"{phase} did not last"
    elif code != 75 or seconds > QUICK_S:
        problem = f"exit {code} after {seconds} s"
    return problem, {"place": f"long {phase}", "victim": signal_name, "exit": code, "noticed_s": seconds}


with tempfile.TemporaryDirectory(prefix="phalanx_kill_") as work:
    reference, windows, start_s = undisturbed(f"{work}/reference")
    report = Report()
    for trial in range(arguments.trials):
        problem, facts = run_trial(trial, reference, windows, start_s)
        report.add(problem, fault="kill in rollouts", seed=arguments.seed, trial=trial, **facts)
    for kind, phase, name in ((LongRollouts, "rollouts", "SIGTERM"), (LongScoring, "scoring", "SIGINT")):
        problem, facts = stop_promptly(kind, phase, name)
        report.add(problem, fault="stop in rollouts", **facts)
    phases = ", ".join(f"{phase} {1000 * seconds:.0f} ms" for phase, seconds in windows.items())
    report.finish(f" (seed {arguments.seed}, a step: {phases})")
