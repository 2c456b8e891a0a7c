#!/usr/bin/env python3
"""`kill -9` of one random rank of a training run, or of the process that started them, at a random instant; every third trial
kills the restarted run too. Then the run is started again and must end with the bits of the undisturbed one
(training_runs.py: C1-C3).

    kill_random.py PHALANX [--trials N] [--seed S]
"""
import argparse
import os
import random
import tempfile

from training_runs import Place, Report, check, kill_at, undisturbed

parser = argparse.ArgumentParser()
parser.add_argument("program")
parser.add_argument("--trials", type=int, default=50 if os.environ.get("PHALANX_FULL") else 8)
parser.add_argument("--seed", type=int, default=1)
arguments = parser.parse_args()


with tempfile.TemporaryDirectory(prefix="phalanx_kill_") as work:
    reference, seconds = undisturbed(f"{work}/reference", arguments.program)
    report = Report()
    for trial in range(arguments.trials):
        generator = random.Random(f"{arguments.seed}/{trial}")
        place = Place(f"{work}/trial", arguments.program)
        kills = [kill_at(place, generator, generator.uniform(0, seconds)) for _ in range(2 if trial % 3 == 2 else 1)]
        committed = place.committed()
        code = place.finish()
        problem = f"the next life exits {code}: {place.errors()[-500:]}" if code != 0 else check(place, reference, committed)
        report.add(problem, fault="kill -9", trial=trial, kills=kills, committed=committed, resumed=place.resumed())
    report.finish(f" (seed {arguments.seed}, undisturbed run {seconds:.1f} s)")
