"""What this program writes for each family, in transformers: Hugging Face folder -> ours -> Hugging Face folder. For every tiny model of
tests/model/golden: tensors equal bit for bit, AutoConfig equal (also from the keys that transformers 4 knew alone), AutoModelForCausalLM
with nothing missing or unexpected and the same logits, AutoTokenizer with the same ids.
"""
import json
import pathlib
import shutil
import sys
import tempfile

import safetensors.torch
import tokenizers
import torch
import transformers

from common import call, verdict

program = sys.argv[1]
golden = pathlib.Path("tests/model/golden")
folders = sorted(p for p in [*(golden / "families").iterdir(), golden / "mixtral"] if (p / "config.json").exists())
work = pathlib.Path(tempfile.mkdtemp(prefix="phalanx-families-check-"))
transformers.logging.set_verbosity_error()
# What transformers 5 writes and 4 did not; without them the older spelling must say it all.
NEW_KEYS = {"dtype", "rope_parameters", "layer_types", "_sliding_window_pattern"}
NEW_KEYS_OF = {"qwen3_moe": {"num_local_experts"}}
# About who wrote the file, and what layer_types says again.
ABOUT = ("transformers_version", "_name_or_path", "torch_dtype", "architectures", "sliding_window_pattern", "_sliding_window_pattern")


def add_tokenizer(folder):
    words = {w: i for i, w in enumerate(["<unk>", "<s>", "</s>", *"abcdefghijklmnopqrstuvwxyz ", "th", "the"])}
    model = tokenizers.models.BPE(vocab=words, merges=[("t", "h"), ("th", "e")], unk_token="<unk>", fuse_unk=True)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(folder)


def make_source(folder, source):
    """The golden model, in fp32 where the file is fp64, with a tokenizer, and with learned positions for the texts of our verification."""
    config = transformers.AutoConfig.from_pretrained(folder)
    if config.model_type == "gpt2":
        config.n_positions = 256
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(source)
    elif config.dtype == torch.float64:
        transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).save_pretrained(source)
    else:
        shutil.copytree(folder, source)
    add_tokenizer(source)


def as_dict(config):
    return {k: v for k, v in config.to_dict().items() if k not in ABOUT}


def is_said_anyway(key, before, after):
    """Keys that follow from others, or that nothing reads in such a model."""
    heads = before.get("num_attention_heads")
    return (
        (key == "head_dim" and before.get(key) is None and after[key] * heads == before["hidden_size"])
        or (key == "hidden_act" and before.get(key) is None and after[key] == before.get("hidden_activation"))
        or (key == "max_window_layers" and not before.get("use_sliding_window"))
        or key.endswith("_pdrop")  # dropout in training, which this program does not have
        or (key == "original_max_position_embeddings" and before["rope_parameters"]["rope_type"] == "default")  # Phi-3's longrope
    )


def difference(before, after):
    return ", ".join(f"{k}: {before.get(k)} -> {after.get(k)}" for k in sorted(before.keys() | after.keys())
                     if before.get(k) != after.get(k) and not is_said_anyway(k, before, after))


def older_spelling(folder):
    """The same folder as transformers 4 would see it: keys that it did not know are not there."""
    config = json.loads((folder / "config.json").read_text())
    old = folder.parent / (folder.name + "-v4")
    old.mkdir()
    new = NEW_KEYS | NEW_KEYS_OF.get(config["model_type"], set())
    (old / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k not in new}))
    return transformers.AutoConfig.from_pretrained(old)


def tensors(folder):
    return {k: v for file in folder.glob("*.safetensors") for k, v in safetensors.torch.load_file(file).items()}


def logits(model):
    ids = torch.arange(3, 12)[None]
    with torch.no_grad():
        return model(input_ids=ids).logits


def check(folder):
    source, out = work / f"{folder.name}-source", work / folder.name
    make_source(folder, source)
    wrong = []
    code, _, err = call([program, "export", source, out, "--to", "hf"])
    if code != 0:
        print(f"  {folder.name}: {err.strip()[-600:]}", flush=True)
        return False
    before, after = tensors(source), tensors(out)
    if before.keys() != after.keys():
        wrong.append(f"tensors {sorted(before.keys() ^ after.keys())}")
    wrong += [f"tensor {k} changed" for k in before.keys() & after.keys()
              if before[k].dtype != after[k].dtype or not torch.equal(before[k].view(torch.uint8), after[k].view(torch.uint8))]
    config = as_dict(transformers.AutoConfig.from_pretrained(source))
    for name, read in (("config", transformers.AutoConfig.from_pretrained(out)), ("config, older spelling", older_spelling(out))):
        changed = difference(config, as_dict(read))
        if changed:
            wrong.append(f"{name}: {changed}")
    load = transformers.AutoModelForCausalLM.from_pretrained
    model, info = load(out, dtype=torch.float32, output_loading_info=True)
    wrong += [f"{kind}: {sorted(keys)}" for kind, keys in info.items() if keys]
    if not torch.equal(logits(model.eval()), logits(load(source, dtype=torch.float32).eval())):
        wrong.append("logits differ")
    text = "the cat is in the hat </s>"
    if transformers.AutoTokenizer.from_pretrained(out)(text).input_ids != transformers.AutoTokenizer.from_pretrained(source)(text).input_ids:
        wrong.append("token ids differ")
    print(f"  {folder.name}: " + ("; ".join(wrong) or "equal"), flush=True)
    return not wrong


results = [check(folder) for folder in folders]
shutil.rmtree(work)
verdict("families in transformers", all(results) and len(results) >= 12,
        f"{sum(results)} of {len(results)} folders equal in tensors, config (both spellings), logits and token ids")
