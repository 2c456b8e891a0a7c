"""Every chat template of TRL and Axolotl x 12 conversations, as transformers renders them, byte for byte, and their masks.

Usage: template_check.py PHALANX MODEL      MODEL: any model; its tokenizer and template are replaced
For each template a tokenizer of single bytes and of the control tokens in the template's source is made, so that stop tokens are
those that the template prints. Checked against transformers' apply_chat_template:
  text   with data.loss_on: all, equal, or both refuse
  marks  templates with {% generation %}: the mask is transformers' return_assistant_tokens_mask, or ours is an error
  found  templates without: the mask, found by rendering prefixes, holds each answer, ends with a stop token and holds nothing that
         another role says, or it is an error
"""
import collections
import datetime
import importlib.util
import json
import logging
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers.utils import chat_template_utils

from common import call, verdict

AXOLOTL = "axolotl==0.21.0"


class FixedClock(datetime.datetime):
    """strftime_now of our templates prints one day, so that two runs are equal."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


def templates(cache):
    """Name and source of the templates that the packages ship."""
    trl = pathlib.Path(importlib.util.find_spec("trl").origin).parent / "chat_templates"
    found = [(f"trl/{path.name}", path.read_text()) for path in sorted(trl.glob("*.jinja"))]
    if not list(cache.glob("axolotl-*.whl")):  # the templates alone: the package itself has no use here
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--python-version", "3.12", "--only-binary=:all:",
                        "-d", cache, AXOLOTL], check=True)
    with zipfile.ZipFile(next(cache.glob("axolotl-*.whl"))) as wheel:
        names = sorted(name for name in wheel.namelist() if name.endswith(".jinja"))
        found += [(f"axolotl/{pathlib.Path(name).name}", wheel.read(name).decode()) for name in names]
    return found


# --- conversations ---

def said(role, content, **more):
    return {"role": role, "content": content, **more}


def weather(arguments):
    return {"type": "function", "id": "abcdef123", "function": {"name": "get_weather", "arguments": arguments}}


def result(content):
    return {"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123", "content": content}


TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "Weather of a <city> & \"more\"",
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "\u00e9 \U0001F600"},
                                                    "days": {"type": ["integer", "null"], "default": 1.0, "enum": [1, 2, 3]}},
                   "required": ["city"]}}}]
PARTS = [{"type": "text", "text": "Look: "}, {"type": "image"}, {"type": "text", "text": "what?"}]
CONVERSATIONS = {
    "one turn": ([said("user", "Hi"), said("assistant", "Hello")], None),
    "two turns": ([said("user", "Hi"), said("assistant", "Hello"), said("user", "Bye"), said("assistant", "See you")], None),
    "system": ([said("system", "Be brief."), said("user", "  2+2? \n"), said("assistant", " 4 ")], None),
    "unicode": ([said("system", "\u00e9"), said("user", "<|x|> {{ y }} \U0001F600 \u2028"), said("assistant", "\u4e2d\n\n```py\nx = 1\n```")], None),
    "reasoning": ([said("user", "Hi"), said("assistant", "Yes", reasoning_content="Let me think.\nWell."), said("user", "And?"),
                   said("assistant", "No", reasoning_content="Hm.")], None),
    "think tags": ([said("user", "Hi"), said("assistant", "<think>\nfirst\n</think>\n\nYes"), said("user", "And?"),
                    said("assistant", "<think>\nsecond\n</think>\n\nNo")], None),
    "tool": ([said("user", "Weather?"), said("assistant", "", tool_calls=[weather({"city": "Bern", "days": 2})]), result("12 \u00b0C"),
              said("assistant", "12 degrees.")], TOOLS),
    "two tools": ([said("system", "Use tools."), said("user", "Weather?"),
                   said("assistant", "Let me see.", reasoning_content="Need it.",
                        tool_calls=[weather({"city": "Bern"}), weather({"city": "\"Rome\"", "x": [1, None, True, {"y": 1e-7}]})]),
                   result("12"), result("{\"t\": 30}"), said("assistant", "12 and 30."), said("user", "Thanks"), said("assistant", "Welcome")], TOOLS),
    "text arguments": ([said("user", "Weather?"), said("assistant", None, tool_calls=[weather("{\"city\": \"Bern\"}")]), result("12"),
                        said("assistant", "12.")], TOOLS),
    "parts": ([said("system", "s"), said("user", PARTS), said("assistant", [{"type": "text", "text": "A cat."}])], None),
    "wrong order": ([said("assistant", "I begin"), said("user", "No"), said("user", "Twice"), said("assistant", "Yes")], None),
    "three turns": ([said("system", "s"), said("user", "Hi"), said("assistant", "a1"), said("user", "b1"), said("assistant", "c1"), said("user", "d1"),
                     said("assistant", "e1")], None),
}


# --- a tokenizer for a template ---

CONTROL = re.compile(r"<\|[^|<>\s{}']+\|>|</?[A-Za-z_0-9\uff5c\u2581:]+>|<\uff5c[^<>]*?\uff5c>|\[/?[A-Z_]+\]"
                     r"|<[a-z_]+\|>|<\|[a-z_]+>|\[\|[a-z]+\|\]")
BOS, EOS, PAD = "<s>", "</s>", "<pad>"


def render(source, messages, tools=None, **more):
    texts, _ = chat_template_utils.render_jinja_template([messages], tools=tools, chat_template=source, bos_token=BOS, eos_token=EOS,
                                                         pad_token=PAD, **more)
    return texts[0]


def stop_texts(source, control):
    """The control tokens that follow the answers: what an engine would stop at."""
    stops = []
    for name in ("two turns", "three turns"):
        try:
            text = render(source, CONVERSATIONS[name][0])
        except Exception:
            continue
        for answer in ("See you", "Hello", "e1", "a1"):
            rest = text.partition(answer)[2]
            while following := next((t for t in control if rest.startswith(t)), None):  # of several, an engine may stop at any
                rest = rest.removeprefix(following).lstrip("\n")
                stops += [following] if following not in stops else []
    return stops or [EOS]


def write_tokenizer(folder, source):
    control = sorted({BOS, EOS, PAD, *CONTROL.findall(source)} - {"<think>", "</think>"}, key=len, reverse=True)
    stops = stop_texts(source, control)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOS, "pad_token": PAD}))
    ids = [tokenizer.token_to_id(stop) for stop in [EOS, *stops]]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": sorted(set(ids))}))
    (folder / "chat_template.jinja").write_text(source)
    return stops


# --- both sides ---

class Ours:
    def __init__(self, phalanx, model, folder):
        self.command = [phalanx, "tokenize", model, "--set", f"model.tokenizer={folder}", "--set", f"model.chat_template={folder}/chat_template.jinja"]

    def rows(self, conversations, loss_on, **more):
        """What the program gives for each: a row, or its error. It stops at the first error; go on behind it."""
        lines = [json.dumps({"messages": m, **({"tools": t} if t else {}), **more}, ensure_ascii=False) + "\n" for m, t in conversations]
        results = []
        while len(results) < len(lines):
            code, out, err = call([*self.command, "--set", f"data.loss_on={loss_on}"], "".join(lines[len(results):]))
            results += [json.loads(line) for line in out.split("\n") if line]
            if code == 0:
                break
            error = next((line for line in err.split("\n") if "error:" in line), err)
            if "stdin: line" not in error:  # the template itself: the same for every row
                return [error] * len(lines)
            results.append(error)
        return results


def prompt_of(tokenizer, messages, tools):
    try:
        return tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True)
    except Exception:
        return None


def theirs(tokenizer, messages, tools, marked):
    try:
        encoded = tokenizer.apply_chat_template(messages, tools=tools, tokenize=True, return_dict=True, return_assistant_tokens_mask=marked)
        return {"text": tokenizer.apply_chat_template(messages, tools=tools, tokenize=False), "ids": encoded["input_ids"],
                "mask": encoded.get("assistant_masks")}
    except Exception as error:  # jinja2's own, TypeError, ...: all of them refusals
        return f"{type(error).__name__}: {error}"


def targets(row, tokenizer):
    """The texts of the runs of targets."""
    runs, last = [], 0
    for id, bit in zip(row["ids"], row["mask"]):
        if bit and not last:
            runs.append([])
        if bit:
            runs[-1].append(id)
        last = bit
    return [tokenizer.decode(run, skip_special_tokens=False) for run in runs]


def words(content):
    return [content.strip()] if isinstance(content, str) else [p["text"].strip() for p in content or [] if p["type"] == "text"]


def reason_to_refuse(reference, messages, stops, tokenizer):
    """Why the mask that transformers gives may not be trained on, whatever it thinks of it; nothing if it may."""
    runs = targets(reference, tokenizer)
    answers = [m for m in messages if m["role"] == "assistant"]
    if not runs:
        return "it is empty"
    if any(not any(run.rstrip().endswith(stop) for stop in [EOS, *stops]) for run in runs):
        return "it leaves out the stop token"
    return f"{len(runs)} runs of targets for {len(answers)} answers" if len(runs) != len(answers) else ""


def wrong_with_found(row, messages, stops, tokenizer):
    """Nothing, or what is wrong with a mask that no marks give."""
    runs = targets(row, tokenizer)
    answers = [m for m in messages if m["role"] == "assistant"]
    if len(runs) > len(answers):
        return f"{len(runs)} runs of targets for {len(answers)} answers"
    for run in runs:
        if not any(run.endswith(stop) for stop in [EOS, *stops]):
            return f"no stop token at the end of {run!r}"
    said_by_others = [w for m in messages if m["role"] != "assistant" for w in words(m["content"]) if len(w) > 4]
    joined = "".join(runs)
    covered = next((w for w in said_by_others if w in joined), None)
    return f"covers {covered!r}" if covered else ""


def main(phalanx, model):
    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    chat_template_utils.datetime = FixedClock
    found = templates(pathlib.Path(sys.prefix))
    conversations = list(CONVERSATIONS.values())
    counts, refusals, expected, wrong = collections.Counter(), collections.Counter(), collections.defaultdict(list), []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, source in found:
            stops = write_tokenizer(folder, source)
            tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), bos_token=BOS, eos_token=EOS, pad_token=PAD)
            tokenizer.chat_template = source
            marked = re.search(r"\{%-?\s*generation\s*-?%\}", source) is not None
            ours = Ours(phalanx, model, folder)
            plain, masked = ours.rows(conversations, "all"), ours.rows(conversations, "assistant")
            prompts = ours.rows(conversations, "all", add_generation_prompt=True)
            for (title, (messages, tools)), text_row, mask_row, prompt in zip(CONVERSATIONS.items(), plain, masked, prompts):
                reference = theirs(tokenizer, messages, tools, marked)
                place = f"{name}, {title}"
                if prompt_of(tokenizer, messages, tools) != (None if isinstance(prompt, str) else prompt["text"]):
                    wrong.append(f"{place}: with the generation prompt the text differs")
                if isinstance(text_row, str) or isinstance(reference, str):
                    equal = isinstance(text_row, str) and isinstance(reference, str)
                    counts["text refused by both" if equal else "text differs"] += 1
                    if not equal:
                        wrong.append(f"{place}: ours {str(text_row)[:300]!r}, theirs {str(reference)[:300]!r}")
                    continue
                if text_row["text"] != reference["text"]:
                    counts["text differs"] += 1
                    wrong.append(f"{place}: text {text_row['text']!r} is not {reference['text']!r}")
                    continue
                counts["text equal"] += 1
                if isinstance(mask_row, str):
                    counts["mask refused, template " + ("with" if marked else "without") + " marks"] += 1
                    if marked:
                        reason = reason_to_refuse(reference, messages, stops, tokenizer)
                        expected[reason].append(place)
                        if not reason:
                            wrong.append(f"{place}: refused, but transformers' mask is one to train on: {mask_row[:300]}")
                    refusals[re.sub(r"^.*?chat template: |^.*?: line \d+: ", "", mask_row)] += 1
                elif marked and mask_row["mask"] != reference["mask"]:
                    wrong.append(f"{place}: mask {targets(mask_row, tokenizer)} is not "
                                 f"{targets({'ids': reference['ids'], 'mask': reference['mask']}, tokenizer)}")
                elif not marked and (problem := wrong_with_found(mask_row, messages, stops, tokenizer)):
                    wrong.append(f"{place}: {problem}")
                else:
                    counts["mask equal" if marked else "mask found"] += 1
    for reason, count in refusals.most_common(12):
        print(f"  mask refused {count} times: {reason[:160]}")
    for reason, places in expected.items():  # a mask that is empty or leaves out the stop token is an error here
        print(f"  expected difference, {len(places)} times: transformers gives the mask of the marks, we refuse it because {reason}: "
              f"{'; '.join(places)}")
    for line in wrong[:20]:
        print("  " + line[:600])
    text = ", ".join(f"{count} x {what}" for what, count in sorted(counts.items()))
    verdict("chat templates", not wrong, f"{len(found)} templates x {len(conversations)} conversations: {text}; {len(wrong)} wrong")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
