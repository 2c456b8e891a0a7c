"""A tiny Llama that scores sequences, and the scores that transformers gives. In fp64, as make_golden.py has it.

    python tests/model/golden/make_reward_golden.py     (torch 2.11, transformers 5.23, safetensors)
"""
import torch
import transformers
from safetensors.torch import save_file
from transformers.models.llama import modeling_llama

from make_golden import MODEL, TINY, norm_in_full_precision, samples

modeling_llama.LlamaRMSNorm.forward = norm_in_full_precision
config = transformers.LlamaConfig(**TINY, tie_word_embeddings=True, num_labels=1, attn_implementation="sdpa")
model = transformers.LlamaForSequenceClassification(config).double().eval()
generator = torch.Generator().manual_seed(13)
with torch.no_grad():
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        p.copy_(1 + 0.3 * noise if "norm" in name else 0.16 * noise)
    ids = [torch.where(sample == TINY["pad_token_id"], 3, sample) for sample in samples()]
    scores = torch.cat([model(input_ids=sample[None]).logits[0] for sample in ids])
model.save_pretrained(MODEL / "reward")
save_file({"ids": torch.cat(ids).to(torch.int32), "scores": scores}, MODEL / "reward.safetensors")
print(scores)
