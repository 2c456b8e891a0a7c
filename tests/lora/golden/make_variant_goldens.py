"""Writes the golden files of tests/lora/variants_test.cpp: adapters of every variant on tiny models of tests/model/golden, and
what PEFT makes of them in fp64: logits, loss, gradients of all that is trained, one merged matrix.

    python tests/lora/golden/make_variant_goldens.py [NAME...]      (torch 2.11, transformers 5.23, peft 0.21, safetensors)
"""
import sys
from pathlib import Path

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

LORA = Path(__file__).parent
MODEL = LORA.parent.parent / "model" / "golden"
sys.path.insert(0, str(MODEL))
from make_family_goldens import norm_in_full_precision, samples, softmax_in_full_precision  # noqa: E402

# base, LoraConfig, the matrix whose merged values are kept
CASES = {
    "dora": ("untied", dict(use_dora=True), "model.layers.1.self_attn.k_proj"),
    "patterns": ("untied", dict(use_rslora=True, rank_pattern={"q_proj": 2, r"layers\.1\.mlp\.down_proj": 3},
                                alpha_pattern={"up_proj": 2.5, r"model\.layers\.0\.self_attn\.q_proj": 9},
                                modules_to_save=["lm_head"]), "model.layers.0.self_attn.q_proj"),
    "phi3": ("families/phi3", dict(use_dora=True, use_rslora=True), "model.layers.1.self_attn.qkv_proj"),
    "gpt2": ("families/gpt2", dict(use_dora=True, modules_to_save=["wte"], alpha_pattern={"c_fc": 1}),
             "transformer.h.1.attn.c_attn"),
}


def base_model(folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(MODEL / folder, dtype=torch.float32,
                                                              attn_implementation="eager").double()
    model.load_state_dict(load_file(MODEL / folder / "model.safetensors"), strict=False)  # of fp64 files all bits
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            type(module).forward = norm_in_full_precision
    return model.eval()


def adapted(folder, options):
    base = base_model(folder)
    config = peft.LoraConfig(**{"r": 4, "lora_alpha": 6, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **options})
    model = peft.get_peft_model(base, config).double().eval()
    generator = torch.Generator().manual_seed(13)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.requires_grad:
                noise = 0.2 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
                p.copy_(p * (1 + noise) if "magnitude" in name else noise if "lora_" in name else p + noise)
    return model


def file_name(name):
    return name.replace("base_model.model.", "").replace(".modules_to_save.default", "").replace(
        "magnitude_vector.default.weight", "magnitude_vector").replace(".default", "")


def main():
    torch.nn.functional.softmax = softmax_in_full_precision
    for case, (folder, options, kept) in CASES.items():
        if len(sys.argv) > 1 and case not in sys.argv[1:]:
            continue
        model = adapted(folder, options)
        model.save_pretrained(LORA / case)
        (LORA / case / "README.md").unlink(missing_ok=True)
        out, loss, logits = {}, 0.0, []
        for ids in samples():
            logits.append(model(input_ids=ids[None]).logits[0])
            loss = loss + torch.nn.functional.cross_entropy(logits[-1][:-1], ids[1:], reduction="sum")
        loss.backward()
        out["ids"] = torch.cat(samples()).to(torch.int32)
        out["logits"] = torch.cat(logits).detach()
        out["loss"] = loss.detach().reshape(1)
        for name, p in model.named_parameters():
            if p.requires_grad:
                out["grad." + file_name(name)] = p.grad.clone()
        merged = dict(model.merge_and_unload().named_parameters())[kept + ".weight"].detach()
        out["merged." + kept] = merged.T if folder.endswith("gpt2") else merged
        save_file({k: v.contiguous() for k, v in out.items()}, LORA / f"{case}.safetensors")
        print(case, float(out["loss"]), sum(k.startswith("grad.") for k in out))


if __name__ == "__main__":
    sys.exit(main())
