"""Writes the golden files of tests/model/families_test.cpp: for every family, and every kind of rotary scaling, a tiny
random model made by transformers, and what transformers makes of two samples in fp64: logits, loss, gradients, and a
greedy continuation. Weights are stored in fp32, gradients in fp64.

    python tests/model/golden/make_family_goldens.py [NAME...]      (torch 2.11, transformers 5.23, safetensors)
"""
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

MODEL = Path(__file__).parent / "families"
SAMPLES = [9, 5]  # lengths; the C++ side packs them into one row
VOCAB = 40
NEW_TOKENS = 8

TINY = dict(vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2,
            pad_token_id=18)  # 18 is in the samples
WINDOW = 3  # shorter than the samples


def rope(**more):
    return dict(rope_parameters={"rope_theta": 500.0, **more})


CASES = {
    "llama_linear": ("Llama", {**TINY, **rope(rope_type="linear", factor=4.0)}),
    # Longer samples than max_position_embeddings, so that their length matters.
    "llama_dynamic": ("Llama", {**TINY, "max_position_embeddings": 6, **rope(rope_type="dynamic", factor=4.0)}),
    "llama_yarn": ("Llama", {**TINY, "head_dim": 16, **rope(rope_type="yarn", factor=4.0,
                                                          original_max_position_embeddings=16)}),
    "llama_yarn_all": ("Llama", {**TINY, "head_dim": 16,
                                 **rope(rope_type="yarn", factor=3.0, original_max_position_embeddings=32,
                                        beta_fast=16.0, beta_slow=2.0, mscale=0.7, mscale_all_dim=1.1,
                                        truncate=False)}),
    "mistral": ("Mistral", {**TINY, "head_dim": 8, "sliding_window": WINDOW}),
    "qwen2": ("Qwen2", TINY),
    "qwen2_window": ("Qwen2", {**TINY, "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1,
                               "tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {**TINY, "head_dim": 8}),
    "qwen3_moe": ("Qwen3Moe", {**TINY, "num_hidden_layers": 3, "head_dim": 8, "num_experts": 4,
                               "num_experts_per_tok": 2, "moe_intermediate_size": 12, "mlp_only_layers": [1],
                               "output_router_logits": True, "router_aux_loss_coef": 0.07}),
    "gemma2": ("Gemma2", {**TINY, "head_dim": 8, "sliding_window": WINDOW, "query_pre_attn_scalar": 5,
                          "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}),
    "gemma3_text": ("Gemma3", {**TINY, "num_hidden_layers": 3, "head_dim": 8, "sliding_window": WINDOW,
                               "query_pre_attn_scalar": 5, "layer_types": ["sliding_attention", "full_attention",
                                                                           "sliding_attention"],
                               "rope_parameters": {
                                   "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5000.0},
                                   "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}}}),
    "phi3": ("Phi3", {**TINY, "sliding_window": WINDOW}),
    "olmo2": ("Olmo2", TINY),
    "gpt2": ("GPT2", dict(vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=4, n_positions=32, bos_token_id=1,
                          eos_token_id=2)),
}
CONFIGS = {"Gemma3": "Gemma3TextConfig"}
MODELS = {"GPT2": "GPT2LMHeadModel"}

softmax = torch.nn.functional.softmax


def softmax_in_full_precision(x, dim=None, dtype=None, **more):
    """The references ask for fp32 here and there whatever the model's dtype; the golden values need fp64."""
    return softmax(x, dim=dim, dtype=None if x.dtype == torch.float64 else dtype, **more)


def norm_in_full_precision(self, x):
    weight = 1 + self.weight if "Gemma" in type(self).__name__ else self.weight
    eps = getattr(self, "variance_epsilon", None) or getattr(self, "eps", None)
    return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps))


def make_model(kind, extra):
    config = getattr(transformers, CONFIGS.get(kind, f"{kind}Config"))(**extra)
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    model = getattr(transformers, MODELS.get(kind, f"{kind}ForCausalLM"))(config)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, p in model.named_parameters():
            # Weights this large make every forgotten detail visible; norms stay away from their start.
            noise = torch.randn(p.shape, generator=generator)
            around = 1 if p.dim() == 1 and name.endswith("weight") and "Gemma" not in kind else 0
            p.copy_(around + (0.3 if p.dim() == 1 else 0.25) * noise)
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            type(module).forward = norm_in_full_precision
    return model.eval()


def samples():
    generator = torch.Generator().manual_seed(11)
    return [torch.randint(3, VOCAB, (n,), generator=generator) for n in SAMPLES]


def by_expert(name, grad):
    """transformers holds experts as one tensor; its files, and the C++ side, have one for each."""
    block = name.rsplit(".", 1)[0]
    if name.endswith("experts.gate_up_proj"):
        for e, pair in enumerate(grad):
            gate, up = pair.chunk(2)
            yield f"{block}.{e}.gate_proj.weight", gate
            yield f"{block}.{e}.up_proj.weight", up
    elif name.endswith("experts.down_proj"):
        for e, down in enumerate(grad):
            yield f"{block}.{e}.down_proj.weight", down
    else:
        yield name, grad


def load_balance(config, logits):
    """load_balancing_loss_func without its fp32 counts."""
    p = torch.softmax(logits, -1)
    sent = torch.nn.functional.one_hot(p.topk(config.num_experts_per_tok).indices, config.num_experts)
    return config.num_experts * (sent.to(p.dtype).mean(0) * p.mean(0)).sum()


def run(model, out):
    loss, logits, routers = 0.0, [], []
    for ids in samples():
        result = model(input_ids=ids[None])
        logits.append(result.logits[0])
        routers.append(getattr(result, "router_logits", None))
        loss = loss + torch.nn.functional.cross_entropy(logits[-1][:-1], ids[1:], reduction="sum")
    if routers[0] is not None:
        loss = loss / sum(n - 1 for n in SAMPLES) + model.config.router_aux_loss_coef * load_balance(
            model.config, torch.cat([torch.cat(layer) for layer in zip(*routers)]))
    loss.backward()
    out["ids"] = torch.cat(samples()).to(torch.int32)
    out["logits"] = torch.cat(logits).detach()
    out["loss"] = loss.detach().reshape(1)
    for name, p in model.named_parameters():
        if p.grad is not None:
            out.update({"grad." + key: grad.clone() for key, grad in by_expert(name, p.grad)})
    prompt = samples()[0][None]
    text = model.generate(prompt, max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=None,
                          attention_mask=torch.ones_like(prompt), use_cache=True)
    out["generated"] = text[0, prompt.shape[1]:].to(torch.int32)


def main():
    torch.nn.functional.softmax = softmax_in_full_precision
    for name, (kind, extra) in CASES.items():
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        torch.manual_seed(0)
        model = make_model(kind, extra)
        model.save_pretrained(MODEL / name)
        for file in ("generation_config.json", "README.md"):
            (MODEL / name / file).unlink(missing_ok=True)
        out = {}
        run(model.double(), out)
        save_file({k: v.contiguous() for k, v in out.items()}, MODEL / f"{name}.safetensors")
        print(name, sum(p.numel() for p in model.parameters()), float(out["loss"]), out["generated"].tolist())


if __name__ == "__main__":
    sys.exit(main())
