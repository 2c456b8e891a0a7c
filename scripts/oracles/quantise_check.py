"""Quantised GGUF exports against llama.cpp's own quantiser: perplexity of both files in llama.cpp, sizes of errors, and speed.

The reference file has the same tensor types (which follow llama.cpp's choice: tests/formats/gguf_mix_test.cpp); every matrix is
quantised anew by ggml_quantize_chunk from the F32 export.
"""
import json
import math
import pathlib
import shutil
import sys
import tempfile
import time

import gguf
import numpy as np

from common import call, glosses, run, run_jsonl, verdict
from llama_cpp import THREADS, perplexity, quantise, write_reference

program, model = sys.argv[1:3]
TOKENS, LIMIT = 4096, 0.01
work = pathlib.Path(tempfile.mkdtemp(prefix="phalanx-quantise-check-"))

text = "\n".join(glosses(700, "verb") + glosses(700))
ids = run_jsonl([program, "tokenize", model], [{"text": text}])[0]["ids"][:TOKENS]
calibration = work / "calibration.txt"
calibration.write_text("\n".join(glosses(400, "adj")))
f32 = work / "f32.gguf"
run([program, "export", model, f32, "--to", "gguf", "--outtype", "f32"])
plain = gguf.GGUFReader(f32)
base = perplexity(f32, ids)
print(f"  F32: perplexity {base:.4f} on {len(ids)} tokens of WordNet")

for outtype in ("q4_k_m", "q4_k_s", "q5_k_m", "q6_k", "q4_0", "q5_1"):
    path, reference = work / f"{outtype}.gguf", work / f"{outtype}.llama.gguf"
    run([program, "export", f32, path, "--to", "gguf", "--outtype", outtype])
    record = json.loads(pathlib.Path(f"{path}.verification.json").read_text())
    error, their_error = write_reference(reference, gguf.GGUFReader(path), plain)
    mine, theirs = perplexity(path, ids), perplexity(reference, ids)
    verdict(f"GGUF {outtype} in llama.cpp", abs(mine / theirs - 1) <= LIMIT or mine < theirs,
            f"perplexity {mine:.4f}, of llama.cpp's quantiser {theirs:.4f} ({100 * (mine / theirs - 1):+.2f} %, limit "
            f"{100 * LIMIT:.0f} %); relative error of weights {error:.5f} and {their_error:.5f}; KL {record['mean_kl']:.4f}, "
            f"top-1 {100 * record['top1_agreement']:.1f} %")
    code, _, err = call([program, "verify", "export", f32, reference])
    verdict(f"llama.cpp's {outtype} in verify export", code == 0, err.strip()[-300:] or "accepted")
    reference.unlink()
    if outtype in ("q4_k_m", "q4_0"):
        weighed = work / f"{outtype}.weighed.gguf"
        run([program, "export", f32, weighed, "--to", "gguf", "--outtype", outtype, "--imatrix-data", calibration])
        with_importance = perplexity(weighed, ids)
        verdict(f"GGUF {outtype} with an importance matrix", with_importance <= mine * 1.002,
                f"perplexity {with_importance:.4f}, without {mine:.4f}, F32 {base:.4f}")
        weighed.unlink()
    path.unlink()

bench = pathlib.Path(program).parent / "bench/formats_bench"
if not bench.exists():
    print(f"  not measured: speed; {bench} is not built")
else:
    values = np.random.default_rng(1).normal(0, 0.02, (4096, 4096)).astype(np.float32)
    for kind in ("Q4_K", "Q5_K", "Q6_K", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"):
        best = math.inf
        for _ in range(5):
            start = time.perf_counter()
            quantise(values, gguf.GGMLQuantizationType[kind])
            best = min(best, time.perf_counter() - start)
        out = run([bench, f"--benchmark_filter=encode/{kind}/", "--benchmark_format=json"])
        ours, theirs = json.loads(out)["benchmarks"][0]["items_per_second"] / 1e6, values.size / best / 1e6
        verdict(f"speed of {kind}", ours >= 0.8 * theirs,
                f"{ours:.0f} M values/s on all cores, llama.cpp {theirs:.0f} on {THREADS} threads ({ours / theirs:.2f} x)")
shutil.rmtree(work)
