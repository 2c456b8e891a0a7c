"""Adapters against PEFT: every family and every variant of LoRA, both ways, on tiny random models made by transformers.

PEFT's adapter in `score` and merged by `merge`, ours (from `train`) in PEFT: log-probabilities within 1e-4 in fp32. One step of SGD from
PEFT's adapter, as `train` takes it, against PEFT's gradients.
"""
import json
import pathlib
import shutil
import sys
import tempfile
import warnings

import peft
import torch
import transformers
from safetensors.torch import load_file

from common import call, load_reference, one_error_line, run, run_jsonl, verdict, write_config

sys.path.insert(0, "tests/model/golden")
from make_family_goldens import CASES, CONFIGS, MODELS  # noqa: E402

warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()
program = pathlib.Path(sys.argv[1]).resolve()
work = pathlib.Path(tempfile.mkdtemp(prefix="phalanx-adapters-check-"))
FIXTURE = pathlib.Path("tests/launch/fixture").resolve()
LIMIT = 1e-4
FP32 = ["--set", "train.precision=fp32"]
tokenizer = transformers.AutoTokenizer.from_pretrained(FIXTURE / "tokenizer")
VOCAB = len(tokenizer)
generator = torch.Generator().manual_seed(5)
ROWS = [torch.randint(3, VOCAB, (n,), generator=generator).tolist() for n in (9, 14, 6)]

FAMILIES = {"llama": ("Llama", {**CASES["mistral"][1], "sliding_window": None}), "llama_tied": ("Llama", {**CASES["qwen2"][1], "tie_word_embeddings": True}),
            "mixtral": ("Mixtral", {**CASES["mistral"][1], "sliding_window": None, "num_local_experts": 4, "num_experts_per_tok": 2})}
FAMILIES |= {name: CASES[name] for name in ("mistral", "qwen2", "qwen3", "qwen3_moe", "gemma2", "gemma3_text", "phi3", "olmo2", "gpt2")}
MOE = ("mixtral", "qwen3_moe")
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]


def linears(family):
    return {"gpt2": ["c_attn", "c_fc", "c_proj"], "phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]}.get(
        family, ATTENTION + ([] if family in MOE else ["gate_proj", "up_proj", "down_proj"]))


def variants(family):
    some = linears(family)
    embedding = "wte" if family == "gpt2" else "embed_tokens"
    return {"lora": dict(target_modules=some), "some": dict(target_modules=some[:1], use_rslora=True),
            "patterns": dict(target_modules=some, use_rslora=True, rank_pattern={some[0]: 2}, alpha_pattern={rf"1\..*{some[1]}": 9.5}),
            "dora": dict(target_modules=some, use_dora=True), "dora_rslora": dict(target_modules=some, use_dora=True, use_rslora=True),
            "saved": dict(target_modules=some, modules_to_save=["lm_head"]),
            "saved_both": dict(target_modules=some[:2], use_dora=True, modules_to_save=["lm_head", embedding])}


def expert_variants(family):
    """PEFT on transformers 5 adapts experts as parameters; ours are the modules of transformers 4, which PEFT converts."""
    names = ["gate", "w1", "w2", "w3"] if family == "mixtral" else ["gate", "gate_proj", "up_proj", "down_proj"]
    theirs = dict(target_modules=ATTENTION, target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj", "mlp.gate.weight"],
                  rank_pattern={r".*\.gate_up_proj": 8}, alpha_pattern={r".*\.gate_up_proj": 12})
    return theirs, dict(target_modules=ATTENTION + names)


def check_experts(family):
    """Where some layers are dense (Qwen 3 MoE's mlp_only_layers), PEFT 0.21 takes their `down_proj` for the experts' and drops its adapter:
    ours is then read by PEFT without loss only for a model whose layers are all mixtures; merged, it is right for both."""
    base = work / family
    theirs, mine = expert_variants(family)
    model = peft.get_peft_model(load_reference(base), peft.LoraConfig(r=4, lora_alpha=6, task_type="CAUSAL_LM", **theirs)).eval()
    shake(model, 29)
    folder = work / f"{family}-experts"
    model.save_pretrained(folder)
    expected, plain = logprobs(model), logprobs(load_reference(base))
    result = {"in": distance(ours(folder, "--set", f"model.path={base}"), expected)}
    merged = work / f"{family}-experts-merged"
    run([program, "merge", base, folder, merged, "--outtype", "f32"])
    result["merged"] = distance(logprobs(load_reference(merged)), expected)
    trained = train(f"{family}-experts-ours", base, lora_yaml(mine))
    run([program, "merge", base, trained, work / f"{family}-experts-ours-merged", "--outtype", "f32"])
    result["ours merged"] = distance(logprobs(load_reference(work / f"{family}-experts-ours-merged")), ours(trained))
    if FAMILIES[family][1].get("mlp_only_layers"):
        base = make_base(family, mlp_only_layers=[])
        trained = train(f"{family}-experts-everywhere", base, lora_yaml(mine))
    result["out"] = distance(logprobs(with_adapter(base, trained)), ours(trained))
    verdict(f"experts {family}", max(result.values()) < LIMIT and distance(expected, plain) > 0.01, ", ".join(f"{k} {v:.1e}" for k, v in result.items()) + " nats")


def make_base(name, **changes):
    kind, extra = FAMILIES[name]
    extra = {**extra, "vocab_size": VOCAB, **changes}
    if kind == "GPT2":
        extra["n_positions"] = 256  # merges are verified on texts of more than a hundred tokens
    else:
        extra["pad_token_id"] = None
    model = getattr(transformers, MODELS.get(kind, f"{kind}ForCausalLM"))(getattr(transformers, CONFIGS.get(kind, f"{kind}Config"))(**extra))
    noise = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for key, p in model.named_parameters():
            around = 1 if p.dim() == 1 and key.endswith("weight") and "Gemma" not in kind else 0
            p.copy_(around + (0.3 if p.dim() == 1 else 0.25) * torch.randn(p.shape, generator=noise))
    folder = work / "-".join([name, *changes])
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(FIXTURE / "tokenizer" / file, folder)
    return folder


def shake(model, seed, size=0.15):
    """Adapters begin without effect: random values show every mistake."""
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if p.requires_grad:
                n = size * torch.randn(p.shape, generator=noise)
                p.copy_(p * (1 + n) if "magnitude" in key else n if "lora_" in key else p + n)


def logprobs(model):
    out = []
    with torch.no_grad():
        for ids in ROWS:
            logp = model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
            out += [logp[i - 1, ids[i]].item() for i in range(1, len(ids))]
    return out


def ours(model, *more):
    rows = run_jsonl([program, "score", model, *more, *FP32], [{"ids": ids} for ids in ROWS])
    return [p for row in rows for p in row["logprobs"] if p is not None]


def distance(a, b):
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def lora_yaml(options):
    return json.dumps({"r": 4, "alpha": 6, **options})


def train(name, base, lora, more=""):
    config = write_config(work / f"{name}.yaml", f"""
run: {{name: {name}, output_dir: {work}/{name}, seed: 3}}
model: {{path: {base}}}
lora: {lora}
data: {{train: [{{path: {FIXTURE}/train.jsonl}}], sequence_length: 64}}
train: {{max_steps: 3, global_batch_size: 4, micro_batch_size: 2, precision: fp32, max_grad_norm: 1.0e9}}
checkpoint: {{every_steps: 2}}
{more or 'optimizer: {learning_rate: 2.0e-2}'}
""")
    run([program, "train", config])
    return work / name / "final"


def with_adapter(base, adapter):
    return peft.PeftModel.from_pretrained(load_reference(base), adapter).eval()


def check(family):
    base = make_base(family)
    plain, worst, effect = logprobs(load_reference(base)), {"in": 0.0, "merged": 0.0, "out": 0.0, "checkpoint": 0.0}, 1e9
    for variant, options in variants(family).items():
        # PEFT's adapter here
        model = peft.get_peft_model(load_reference(base), peft.LoraConfig(r=4, lora_alpha=6, task_type="CAUSAL_LM", **options)).eval()
        shake(model, 17)
        theirs = work / f"{family}-{variant}-theirs"
        model.save_pretrained(theirs)
        expected = logprobs(model)
        effect = min(effect, distance(expected, plain))
        here = {"in": distance(ours(theirs, "--set", f"model.path={base}"), expected)}
        merged = work / f"{family}-{variant}-merged"
        run([program, "merge", base, theirs, merged, "--outtype", "f32"])
        here["merged"] = distance(logprobs(load_reference(merged)), expected)
        # ours there
        mine = train(f"{family}-{variant}", base, lora_yaml(options))
        score = ours(mine)
        here["out"] = distance(logprobs(with_adapter(base, mine)), score)
        here["checkpoint"] = distance(ours(work / f"{family}-{variant}/checkpoints/step_3"), score)
        for key, value in here.items():
            worst[key] = max(worst[key], value)
            if not value < LIMIT:
                print(f"  {family} {variant}: {key} {value:.1e}", flush=True)
        shutil.rmtree(merged)
    verdict(family, max(worst.values()) < LIMIT < 0.01 < effect, ", ".join(f"{k} {v:.1e}" for k, v in worst.items()) +
            f" nats over {len(variants(family))} variants (each changes the model by {effect:.1g} at least)")


def check_gradients(family):
    """weight - learning rate * gradient, from adapter to adapter."""
    base = work / family
    options = variants(family)["saved_both"]
    model = peft.get_peft_model(load_reference(base), peft.LoraConfig(r=4, lora_alpha=6, task_type="CAUSAL_LM", **options)).eval()
    shake(model, 19)
    start, data = work / f"{family}-start", work / f"{family}-ids.jsonl"
    model.save_pretrained(start)
    data.write_text("".join(json.dumps({"input_ids": ids, "labels": ids}) + "\n" for ids in ROWS))
    config = write_config(work / f"{family}-sgd.yaml", f"""
run: {{name: sgd, output_dir: {work}/{family}-sgd, seed: 3}}
model: {{path: {base}}}
lora: {{path: {start}}}
data: {{train: [{{path: {data}}}], sequence_length: 64, packing: false}}
train: {{max_steps: 1, global_batch_size: {len(ROWS)}, micro_batch_size: 1, precision: fp32, max_grad_norm: 1.0e9}}
schedule: {{name: constant}}
optimizer: {{name: sgd, learning_rate: 1.0}}
""")
    run([program, "train", config])
    before, after = (load_file(p / "adapter_model.safetensors") for p in (start, work / f"{family}-sgd/final"))
    loss = sum(torch.nn.functional.cross_entropy(model(input_ids=torch.tensor([ids])).logits[0][:-1], torch.tensor(ids[1:]), reduction="sum") for ids in ROWS)
    (loss / sum(len(ids) - 1 for ids in ROWS)).backward()
    worst, count = 0.0, 0
    for key, p in model.named_parameters():
        if p.requires_grad:
            name = key.replace(".modules_to_save.default", "").replace("magnitude_vector.default.weight", "magnitude_vector").replace(".default", "")
            difference = (before[name] - after[name] - p.grad).abs().max().item()
            worst, count = max(worst, difference / max(p.grad.abs().max().item(), 1e-3)), count + 1
    verdict(f"gradients {family}", worst < LIMIT and count == len(before), f"{count} tensors (DoRA, lm_head, embedding): relative difference {worst:.1e}")


def check_refusals():
    theirs, base = work / "llama-dora-theirs", work / "llama"
    tensors, count = load_file(theirs / "adapter_model.safetensors"), 0
    settings = json.loads((theirs / "adapter_config.json").read_text())
    from safetensors.torch import save_file
    key = next(k for k in tensors if k.endswith("1.mlp.up_proj.lora_B.weight"))
    changed = {"renamed": ({**{k: v for k, v in tensors.items() if k != key}, key.replace("up_proj", "upward"): tensors[key]}, {}, [key, key.replace("up_proj", "upward")]),
               "missing": ({k: v for k, v in tensors.items() if k != key}, {}, [key]),
               "extra": ({**tensors, "base_model.model.lm_head.lora_A.weight": tensors[key].clone()}, {}, ["base_model.model.lm_head.lora_A.weight"]),
               "fewer targets": (tensors, {"target_modules": ["q_proj"]}, ["down_proj.lora_A.weight"]),
               "another rank": (tensors, {"r": 8}, ["q_proj.lora_A.weight is [4, 16], not [8, 16]"]),
               "qalora": (tensors, {"use_qalora": True}, ["use_qalora"]), "tomorrow": (tensors, {"a_key_of_tomorrow": 1}, ["a_key_of_tomorrow"])}
    for what, (content, more, named) in changed.items():
        folder = work / f"refused-{count}"
        folder.mkdir()
        save_file(content, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        (folder / "adapter_config.json").write_text(json.dumps({**settings, **more}))
        code, _, err = call([program, "score", folder, "--set", f"model.path={base}"], '{"ids": [5, 6]}\n')
        problem = one_error_line(code, err) or next((f"{n} is not named: {err}" for n in named if n not in err), "")
        if problem:
            verdict(f"refusal, {what}", False, problem)
        count += 1
    verdict("refusals", True, f"{count} adapters with renamed, missing and extra keys or unknown settings: each names them in one line")


METHODS = {"cat": {}, "svd": {}, "linear": {}, "ties": {"density": 0.6}, "ties_svd": {"density": 0.6}, "magnitude_prune": {"density": 0.6},
           "magnitude_prune_svd": {"density": 0.6}, "dare_linear": {"density": 0.6}, "dare_ties": {"density": 0.6}}
WEIGHTS = {"a": 0.7, "b": -0.4}


def merge(base, method, weights, to="peft"):
    made = work / f"merged-{len(list(work.iterdir()))}"
    more = [x for key, value in METHODS[method].items() for x in (f"--{key}", value)]
    run([program, "merge", base, *(f"{work}/{base.name}-{n}={w}" for n, w in weights.items()), made, "--method", method, "--to", to, *more,
         *(["--outtype", "f32"] if to == "hf" else []), *(["--seed", 9] if "dare" in method else [])])
    return made


def masked_pruning(base, method, adapters):
    """PEFT's random_pruning with the masks of our program, seen where only one adapter has a weight."""
    masks = {}
    for name, other in (("a", "b"), ("b", "a")):
        weights = {n: float(n == name) for n in WEIGHTS}
        ours_alone = load_file(merge(base, "dare_linear", weights) / "adapter_model.safetensors")
        for key, tensor in adapters[name].items():
            masks[tuple(tensor.flatten()[:4].tolist())] = (ours_alone[key] != 0).float()

    def pruned(tensor, density, rescale):
        assert rescale
        return tensor * masks[tuple(tensor.flatten()[:4].tolist())] / density
    kept = sum(m.sum().item() for m in masks.values()) / sum(m.numel() for m in masks.values())
    return pruned, kept


def check_merges(family):
    """Two weighted adapters made one: by `merge` and by PEFT's add_weighted_adapter."""
    base, some = work / family, linears(family)
    model = peft.get_peft_model(load_reference(base), peft.LoraConfig(r=4, lora_alpha=6, task_type="CAUSAL_LM", target_modules=some), "a").eval()
    model.add_adapter("b", peft.LoraConfig(r=4, lora_alpha=10, use_rslora=True, task_type="CAUSAL_LM", target_modules=some[:2]))
    noise = torch.Generator().manual_seed(23)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "lora_" in key:
                p.copy_(0.15 * torch.randn(p.shape, generator=noise))
    adapters = {}
    for name in WEIGHTS:
        model.save_pretrained(work / f"{family}-saved", selected_adapters=[name])
        shutil.move(work / f"{family}-saved" / name, work / f"{family}-{name}")
        adapters[name] = load_file(work / f"{family}-{name}/adapter_model.safetensors")
    from peft.utils import merge_utils
    pruned, kept = masked_pruning(base, "dare_linear", adapters)
    merge_utils.random_pruning = pruned
    results = {}
    for method, more in METHODS.items():
        model.add_weighted_adapter(list(WEIGHTS), list(WEIGHTS.values()), method, combination_type=method, **more)
        model.set_adapter(method)
        expected = logprobs(model)
        results[method] = max(distance(logprobs(with_adapter(base, merge(base, method, WEIGHTS))), expected),
                              distance(logprobs(load_reference(merge(base, method, WEIGHTS, "hf"))), expected))
    verdict(f"merge {family}", max(results.values()) < LIMIT and abs(kept - 0.6) < 0.05,
            ", ".join(f"{k} {v:.1e}" for k, v in results.items()) + f" nats; dare keeps {kept:.3f} at density 0.6")


only = sys.argv[3:] or list(FAMILIES)
for family in only:
    check(family)
if "llama" in only:
    check_refusals()
for family in MOE:
    if family in only:
        check_experts(family)
for family in ("llama", "phi3", "gpt2"):
    if family in only:
        check_gradients(family)
        check_merges(family)
shutil.rmtree(work)
