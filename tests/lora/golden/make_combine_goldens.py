"""Writes the golden files of tests/lora/combine_test.cpp: two adapters on the model `untied` of tests/model/golden, and what PEFT's
add_weighted_adapter makes of them with weights 0.7 and -0.4, in fp32.

    python tests/lora/golden/make_combine_goldens.py      (torch 2.11, transformers 5.23, peft 0.21, safetensors)
"""
import sys
from pathlib import Path

import peft
import torch
import transformers
from safetensors.torch import save_file

LORA = Path(__file__).parent
BASE = LORA.parent.parent / "model" / "golden" / "untied"
MODULE = "model.layers.1.self_attn.q_proj"
DELTA = ("cat", "svd", "ties_svd", "magnitude_prune_svd")  # their factors are not unique: the products are kept


def main():
    model = None
    for i, (name, options) in enumerate({"combine_a": dict(target_modules=["q_proj", "v_proj"], lora_alpha=6),
                                         "combine_b": dict(target_modules=["q_proj"], lora_alpha=8, use_rslora=True)}.items()):
        config = peft.LoraConfig(r=4, task_type="CAUSAL_LM", **options)
        if model is None:
            model = peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32), config, name)
        else:
            model.add_adapter(name, config)
        generator = torch.Generator().manual_seed(21 + i)
        with torch.no_grad():
            for key, p in model.named_parameters():
                if f".{name}." in key:
                    p.copy_(0.2 * torch.randn(p.shape, generator=generator))
    model.save_pretrained(LORA, selected_adapters=["combine_a", "combine_b"])
    (LORA / "README.md").unlink(missing_ok=True)
    for name in ("combine_a", "combine_b"):
        (LORA / name / "README.md").unlink(missing_ok=True)
    out = {}
    for method in ("cat", "svd", "linear", "ties", "ties_svd", "magnitude_prune", "magnitude_prune_svd", "ties_frequency"):
        more = {} if method in ("cat", "svd", "linear") else {"density": 0.5}
        if method == "ties_frequency":
            more["majority_sign_method"] = "frequency"
        kind = method.removesuffix("_frequency")
        # rsLoRA in the first adapter's place would be copied to the result, and its scale applied a second time.
        model.add_weighted_adapter(["combine_a", "combine_b"], [0.7, -0.4], method, combination_type=kind, **more)
        layer = model.get_submodule("base_model.model." + MODULE)
        a, b = layer.lora_A[method].weight.detach(), layer.lora_B[method].weight.detach()
        assert layer.scaling[method] == 1
        if method in DELTA:
            out[method] = b @ a
        else:
            out[method + ".a"], out[method + ".b"] = a, b
    save_file({k: v.contiguous() for k, v in out.items()}, LORA / "combine.safetensors")


if __name__ == "__main__":
    sys.exit(main())
