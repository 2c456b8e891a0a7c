#!/usr/bin/env bash
# A run that learns from sampled answers on 1, 2 and 4 ranks (4 on however many cores there are): SmolLM2-135M with an adapter, 2 steps, in
# run.determinism: mesh_invariant and rollout.batch_invariant. Fails unless every answer, reward, loss and weight has the same bits.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
RUNS=$(mktemp -d)
trap 'rm -rf "$RUNS"' EXIT
train() {  # name, settings...
  build/release/phalanx train configs/grpo_addition.yaml --set run.output_dir="$RUNS/$1" --set run.determinism=mesh_invariant \
    --set rollout.batch_invariant=true --set lora.r=8 --set run.threads=1 --set train.max_steps=2 --set train.global_batch_size=16 \
    --set method.num_generations=4 --set train.precision=fp32 --set optimizer.learning_rate=1e-4 --set eval.every_steps=0 \
    --set checkpoint.every_steps=0 "${@:2}"
}
step "1 rank" train dp1 --set parallel.dp=1
step "2 ranks" train dp2 --set parallel.dp=2
step "2 ranks, ZeRO 2" train zero2 --set parallel.dp=2 --set parallel.zero_stage=2
step "4 ranks" train dp4 --set parallel.dp=4
python3 - "$RUNS" << 'PY'
import json, pathlib, sys
runs = pathlib.Path(sys.argv[1])
NOT_OF_THE_MESH = ("tokens_per_s", "step_s", "memory_bytes")
def trace(name):
    rollouts = [path.read_text() for path in sorted((runs / name / "rollouts").iterdir())]
    rows = [json.loads(line) for line in (runs / name / "metrics.jsonl").read_text().splitlines()]
    rows = [{key: value for key, value in row.items() if key not in NOT_OF_THE_MESH} for row in rows]
    return {"answers and rewards": rollouts, "metrics": rows, "weights": (runs / name / "final/adapter_model.safetensors").read_bytes()}
expected, failed = trace("dp1"), False
for name in ("dp2", "zero2", "dp4"):
    found = trace(name)
    different = [part for part in expected if found[part] != expected[part]]
    failed |= bool(different)
    print(f"{name}: {'other ' + ', '.join(different) if different else 'the bits of one rank'}")
    for mine, theirs in zip(found["metrics"], expected["metrics"]) if "metrics" in different else ():
        print({key: (mine[key], theirs.get(key)) for key in mine if mine[key] != theirs.get(key)})
print("losses:", [row["loss"] for row in expected["metrics"]], "rewards:", [row["reward"] for row in expected["metrics"]])
sys.exit(failed)
PY
