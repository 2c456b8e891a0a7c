"""Writes the golden files of tests/model/mixtral_test.cpp and tests/lora/mixtral_adapter_test.cpp: a tiny random Mixtral in
both spellings of its weights, what transformers makes of it, and a LoRA adapter on all its linear layers, what PEFT
makes of that. All in fp64, so that the C++ code can be held to 1e-12.

    python tests/model/golden/make_mixtral_golden.py    (torch 2.11, transformers 5.23, peft 0.21, safetensors)
"""
import json
import shutil
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.loss import loss_utils
from transformers.models.mixtral import modeling_mixtral

MODEL = Path(__file__).parent
LORA = MODEL.parent.parent / "lora" / "golden"
VOCAB, EXPERTS = 48, 4
SAMPLES = {"": [7, 5], "short.": [2]}  # lengths; the short one leaves an expert without a token

CONFIG = dict(vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, head_dim=8, max_position_embeddings=128, rms_norm_eps=1e-5, bos_token_id=1,
              eos_token_id=2, pad_token_id=18, rope_theta=10000.0, num_local_experts=EXPERTS, num_experts_per_tok=2,
              router_aux_loss_coef=0.07, output_router_logits=True)


class TorchInDouble:
    """The module torch, but for what it calls float32: Mixtral's norm and auxiliary loss name that type."""
    float32 = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


def in_double(function):
    """`function`, in which x.float() is x.double(): the reference leaves the model's dtype in a few places."""
    def wrapped(*args, **kwargs):
        to_float = torch.Tensor.float
        torch.Tensor.float = torch.Tensor.double
        try:
            return function(*args, **kwargs)
        finally:
            torch.Tensor.float = to_float
    return wrapped


def keep_full_precision():
    modeling_mixtral.torch = TorchInDouble()
    modeling_mixtral.MixtralTopKRouter.forward = in_double(modeling_mixtral.MixtralTopKRouter.forward)
    modeling_mixtral.load_balancing_loss_func = in_double(modeling_mixtral.load_balancing_loss_func)
    loss_utils.LOSS_MAPPING["ForCausalLM"] = in_double(loss_utils.LOSS_MAPPING["ForCausalLM"])


def make_model():
    config = transformers.MixtralConfig(**CONFIG, attn_implementation="sdpa",
                                        experts_implementation="eager")
    model = transformers.MixtralForCausalLM(config).double()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
            p.copy_(1 + 0.3 * noise if "norm" in name else 0.16 * noise)
    return model.eval()


def padded(lengths):
    """Samples of these lengths as transformers batches them: padded on the right, with a mask."""
    generator = torch.Generator().manual_seed(11)
    ids = torch.full((len(lengths), max(lengths)), CONFIG["pad_token_id"])
    mask = torch.zeros_like(ids)
    for row, n in enumerate(lengths):
        ids[row, :n] = torch.randint(3, VOCAB, (n,), generator=generator)
        mask[row, :n] = 1
    return ids, mask


def v4_views(name, tensor):
    """A parameter of transformers 5, or its gradient, cut into those that the files name."""
    name = name.replace(".mlp.", ".block_sparse_moe.")
    if name.endswith("experts.gate_up_proj"):
        for e, both in enumerate(tensor):
            gate, up = both.chunk(2)
            stem = name.replace("gate_up_proj", str(e))
            yield stem + ".w1.weight", gate
            yield stem + ".w3.weight", up
    elif name.endswith("experts.down_proj"):
        for e, down in enumerate(tensor):
            yield name.replace("down_proj", str(e)) + ".w2.weight", down
    else:
        yield name, tensor


def run(model, prefix, out):
    """Logits, the loss with its auxiliary part as transformers trains on it, and the gradients."""
    ids, mask = padded(SAMPLES[prefix])
    real = mask.bool()
    model.zero_grad()
    result = model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(~real, -100), output_router_logits=True)
    if result.loss.requires_grad:
        result.loss.backward()
    out[prefix + "ids"] = ids[real].to(torch.int32)
    out[prefix + "logits"] = result.logits[real].detach()
    out[prefix + "loss"] = result.loss.detach().reshape(1)
    out[prefix + "aux_loss"] = result.aux_loss.detach().reshape(1)
    assert all(t.dtype == torch.float64 for t in (result.loss, result.aux_loss, result.logits, *result.router_logits))
    for name, p in model.named_parameters():
        if p.grad is not None:
            for part, gradient in v4_views(name, p.grad):
                out[prefix + "grad." + part] = gradient.clone()
    return result


def strip(folder):
    for name in ("generation_config.json", "README.md"):
        (folder / name).unlink(missing_ok=True)


def adapter_of(model, folder):
    """A PEFT adapter under the names of transformers 4, on every linear layer that `all-linear` means."""
    r, tensors = 2, {}
    generator = torch.Generator().manual_seed(13)
    draw = lambda *shape: 0.2 * torch.randn(*shape, generator=generator, dtype=torch.float64)
    for name, p in model.named_parameters():
        if "norm" in name or "embed" in name or "lm_head" in name:
            continue
        for part, weight in v4_views(name, p.detach()):
            stem = "base_model.model." + part.removesuffix(".weight")
            tensors[stem + ".lora_A.weight"] = draw(r, weight.shape[1])
            tensors[stem + ".lora_B.weight"] = draw(weight.shape[0], r)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = dict(peft_type="LORA", task_type="CAUSAL_LM", r=r, lora_alpha=3, lora_dropout=0.0, bias="none",
                  inference_mode=True, target_modules=["gate", "k_proj", "o_proj", "q_proj", "v_proj", "w1", "w2", "w3"])
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    return tensors


def merged_by_hand(model, tensors):
    """W + scale B A in every matrix, so that PEFT's reading of these names is itself held against something."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            for part, view in v4_views(name, p):
                stem = "base_model.model." + part.removesuffix(".weight")
                if stem + ".lora_A.weight" in tensors:
                    view += 1.5 * tensors[stem + ".lora_B.weight"] @ tensors[stem + ".lora_A.weight"]
    return model


def main():
    keep_full_precision()
    model = make_model()
    for folder, original in (("mixtral", True), ("mixtral_v5", False)):
        shutil.rmtree(MODEL / folder, ignore_errors=True)
        model.save_pretrained(MODEL / folder, save_original_format=original)
        strip(MODEL / folder)
    out = {}
    run(model, "", out)
    short = run(model, "short.", out)
    idle = [EXPERTS - logits.topk(2).indices.unique().numel() for logits in short.router_logits]
    assert max(idle) > 0, "take another short sample: every expert has a token"
    save_file(out, MODEL / "mixtral.safetensors")
    print("names:", sorted(load_file(MODEL / "mixtral" / "model.safetensors"))[:8])
    print("v5 names:", sorted(load_file(MODEL / "mixtral_v5" / "model.safetensors"))[:8])
    print("idle experts of the short sample by layer:", idle)

    import peft
    folder = LORA / "mixtral_adapter"
    tensors = adapter_of(model, folder)
    adapted = peft.PeftModel.from_pretrained(make_model(), folder).double().eval()
    out, by_hand = {}, {}
    run(adapted, "", out)
    run(merged_by_hand(model, tensors), "", by_hand)
    difference = (out["logits"] - by_hand["logits"]).abs().max().item()
    print("PEFT against weights merged by hand:", difference)
    assert difference < 1e-12
    save_file({name: out[name] for name in ("ids", "logits", "aux_loss")}, LORA / "mixtral_adapter.safetensors")


if __name__ == "__main__":
    sys.exit(main())
