"""Writes the golden files of tests/model and tests/lora: tiny random Llama models, what transformers makes of them, and a
LoRA adapter on one of them, what PEFT makes of that. All in fp64, so that the C++ code can be held to 1e-10.

    python tests/model/golden/make_golden.py            (torch 2.11, transformers 5.23, peft 0.21, safetensors)
"""
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers.models.llama import modeling_llama

MODEL = Path(__file__).parent
LORA = MODEL.parent.parent / "lora" / "golden"
SAMPLES = [7, 5]  # lengths; the C++ side packs them into one row
VOCAB = 48

TINY = dict(vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=8, max_position_embeddings=128, rms_norm_eps=1e-5, bos_token_id=1,
            eos_token_id=2, pad_token_id=18)  # 18 is in the samples: its row gets no gradient from the look-up
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}
CASES = {
    "untied": dict(tie_word_embeddings=False, rope_theta=10000.0),
    "tied_llama3": dict(tie_word_embeddings=True, rope_parameters=LLAMA3, attention_bias=True, mlp_bias=True),
}


def norm_in_full_precision(self, x):
    """The reference norm works in fp32 whatever the model's dtype; the golden values need fp64."""
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def make_model(extra):
    config = transformers.LlamaConfig(**TINY, **extra, attn_implementation="sdpa")
    model = transformers.LlamaForCausalLM(config).double()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, p in model.named_parameters():
            # Weights this large make every forgotten detail visible; norms stay away from 1.
            noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
            p.copy_(1 + 0.3 * noise if "norm" in name else 0.16 * noise)
    return model.eval()


def samples():
    generator = torch.Generator().manual_seed(11)
    return [torch.randint(3, VOCAB, (n,), generator=generator) for n in SAMPLES]


def run(model, out, keep_gradient):
    """Logits of every sample, the summed loss and its gradients."""
    model.zero_grad()
    loss, logits = 0.0, []
    for ids in samples():
        logits.append(model(input_ids=ids[None]).logits[0])
        loss = loss + torch.nn.functional.cross_entropy(logits[-1][:-1], ids[1:], reduction="sum")
    loss.backward()
    out["ids"] = torch.cat(samples()).to(torch.int32)
    out["logits"] = torch.cat(logits).detach()
    out["loss"] = loss.detach().reshape(1)
    for name, p in model.named_parameters():
        if keep_gradient(name) and p.grad is not None:
            out["grad." + name] = p.grad.clone()


def strip(folder):
    for name in ("generation_config.json", "README.md"):
        (folder / name).unlink(missing_ok=True)


def main():
    modeling_llama.LlamaRMSNorm.forward = norm_in_full_precision
    for name, extra in CASES.items():
        torch.manual_seed(0)
        model = make_model(extra)
        model.save_pretrained(MODEL / name)
        strip(MODEL / name)
        out = {}
        run(model, out, lambda _: True)
        save_file(out, MODEL / f"{name}.safetensors")

    import peft
    model = make_model(CASES["untied"])
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules="all-linear", task_type="CAUSAL_LM")
    model = peft.get_peft_model(model, config).double()
    generator = torch.Generator().manual_seed(13)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_" in name:
                p.copy_(0.2 * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    model.save_pretrained(LORA / "adapter")
    strip(LORA / "adapter")
    out = {}
    run(model.eval(), out, lambda name: "lora_" in name)
    out = {k.replace("base_model.model.", "").replace(".default", ""): v for k, v in out.items()}
    for name, p in model.merge_and_unload().named_parameters():
        if name.endswith("layers.1.self_attn.k_proj.weight"):
            out["merged." + name] = p.detach().clone()
    save_file(out, LORA / "adapter.safetensors")


if __name__ == "__main__":
    sys.exit(main())
