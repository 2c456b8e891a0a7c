#!/usr/bin/env python3
"""A training run over two ranks whose disk is full (a tmpfs in a mount namespace of its own): it goes on without its
checkpoints, says at each how many bytes are needed and there, and ends with 74 after the third miss. When room has been made the
same command ends with the bits of the undisturbed run (training_runs.py: C1-C3).

    disk_full_run.py PHALANX
"""
import os
import re
import subprocess
import sys
import tempfile

from training_runs import Place, Report, check, undisturbed

if os.environ.get("PHALANX_OWN_MOUNTS") != "1":
    if subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        print("skipped: no mount namespace (not root)")
        sys.exit(77)
    os.environ["PHALANX_OWN_MOUNTS"] = "1"
    os.execvp("unshare", ["unshare", "-m", sys.executable, os.path.abspath(__file__), *sys.argv[1:]])

program = os.path.abspath(sys.argv[1])
with tempfile.TemporaryDirectory(prefix="phalanx_disk_") as work:
    reference, _ = undisturbed(f"{work}/reference", program)
    report = Report()
    for room_mib in (0, 30, 60):  # beside what one checkpoint needs, 64 MiB are kept free
        place = Place(f"{work}/trial", program)
        disk = place.folder / "run"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "disk", disk], check=True)
        filler = disk / "filler"
        filler.write_bytes(bytes((79 - room_mib) << 20))
        code = place.finish()
        committed, errors = place.committed(), place.errors()
        missed = re.findall(r"(\d[\d_,.]*) bytes", errors)
        filler.unlink()
        problem = None
        if code != 74:
            problem = f"exit {code}, expected 74: {errors[-500:]}"
        elif not missed or "error:" not in errors:
            problem = f"no line that says what is needed: {errors[-500:]}"
        else:
            code = place.finish()
            problem = f"the next life exits {code}: {place.errors()[-500:]}" if code != 0 else check(place, reference, committed)
        report.add(problem, fault="full disk", room_mib=room_mib, exit=code, committed=committed, resumed=place.resumed())
        subprocess.run(["umount", disk], check=True)
    report.finish()
