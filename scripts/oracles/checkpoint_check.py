"""h5py reads whole global tensors through the virtual index of a checkpoint written by two ranks."""
import json
import pathlib
import shutil
import sys
import tempfile

import h5py
import numpy

from common import run, verdict, write_config

program, gguf = sys.argv[1:3]
work = pathlib.Path(tempfile.mkdtemp(prefix="phalanx-checkpoint-check-"))
config = write_config(work / "tiny.yaml", f"""
run: {{name: ck, output_dir: {work}/run}}
model: {{path: {gguf}}}
lora: {{r: 4}}
data: {{train: [{{path: data/wordnet/train.jsonl}}], sequence_length: 64}}
train: {{max_steps: 2, global_batch_size: 2, micro_batch_size: 1}}
parallel: {{dp: 2}}
checkpoint: {{every_steps: 2}}
""")
run([program, "train", config])
folder = work / "run/checkpoints/step_2"
manifest = json.loads((folder / "MANIFEST.json").read_text())
index = [p for p in folder.glob("*.h5") if "index" in p.name][0]
count, values = 0, 0
with h5py.File(index) as file:
    def visit(name, item):
        global count, values
        if isinstance(item, h5py.Dataset):
            data = numpy.asarray(item[()], dtype=numpy.float64)
            assert numpy.isfinite(data).all(), name
            count += 1
            values += int((data != 0).sum())
    file.visititems(visit)
verdict("checkpoint", count >= 630 and values > 0, f"{count} tensors with {values} non-zero values through {index.name}")
shutil.rmtree(work)
