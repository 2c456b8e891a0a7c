"""phalanx score against transformers on the same dequantised weights, fp32: log p of >= 2,000 tokens within 1e-3 nats."""
import sys

import torch

from common import glosses, reference_model, run_jsonl, verdict

program, gguf = sys.argv[1:3]
texts = [" ".join(glosses(400)[i::10])[:1400] for i in range(10)]
rows = run_jsonl([program, "score", gguf, "--set", "train.precision=fp32"], [{"text": t} for t in texts])
model = reference_model(gguf)
worst, count = 0.0, 0
for row in rows:
    ids = torch.tensor([row["ids"]])
    with torch.no_grad():
        logp = model(ids).logits.float().log_softmax(-1)[0]
    expected = logp[:-1].gather(1, ids[0, 1:, None])[:, 0]
    assert row["logprobs"][0] is None and len(row["logprobs"]) == len(row["ids"])
    worst = max(worst, (torch.tensor(row["logprobs"][1:]) - expected).abs().max().item())
    count += len(row["ids"]) - 1
verdict("score", worst <= 1e-3 and count >= 2000, f"{count} tokens, max |difference of log p| = {worst:.2e} nats (limit 1e-3)")
