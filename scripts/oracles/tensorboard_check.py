"""TensorBoard reads our event files: the tags and values of metrics.jsonl."""
import json
import pathlib
import shutil
import sys
import tempfile

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from common import run, verdict, write_config

program, gguf = sys.argv[1:3]
work = pathlib.Path(tempfile.mkdtemp(prefix="phalanx-tensorboard-check-"))
config = write_config(work / "tiny.yaml", f"""
run: {{name: tb, output_dir: {work}/run}}
model: {{path: {gguf}}}
lora: {{r: 4}}
data: {{train: [{{path: data/wordnet/train.jsonl}}], sequence_length: 64}}
train: {{max_steps: 3, global_batch_size: 1, micro_batch_size: 1}}
checkpoint: {{every_steps: 0}}
""")
run([program, "train", config])
rows = [json.loads(line) for line in open(work / "run/metrics.jsonl")]
events = EventAccumulator(str(work / "run"))
events.Reload()
read = {e.step: e.value for e in events.Scalars("train/loss")}
worst = max(abs(read[r["step"]] - r["loss"]) / r["loss"] for r in rows if "loss" in r)
verdict("tensorboard", len(read) == 3 and worst < 1e-6, f"{len(read)} values of train/loss, tags {sorted(events.Tags()['scalars'])}")
shutil.rmtree(work)
