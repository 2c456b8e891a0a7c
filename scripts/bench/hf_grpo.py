"""The peer of grpo_step.py: TRL's GRPOTrainer in a process of its own, which stays between steps.

usage: hf_grpo.py GGUF PROMPTS.json GROUP NEW_TOKENS DTYPE     DTYPE fp32 | bf16
Reads lines: each "go" is answered, after one step, by one JSON line, {"seconds", "cpu_seconds", "mean_length"}; ends with
its input.
"""
import json
import os
import pathlib
import sys
import tempfile
import time

import datasets
import torch
import transformers
import trl

gguf, prompts, group, new_tokens, dtype = sys.argv[1:6]
torch.set_num_threads(2)
transformers.logging.set_verbosity_error()
gguf = pathlib.Path(gguf).resolve()
load = dict(pretrained_model_name_or_path=gguf.parent, gguf_file=gguf.name)
model = transformers.AutoModelForCausalLM.from_pretrained(
    **load, dtype=torch.bfloat16 if dtype == "bf16" else torch.float32)
tokenizer = transformers.AutoTokenizer.from_pretrained(**load)
answers = sys.stdout
sys.stdout = sys.stderr  # the trainer prints its log


def repetition(completions, **_):
    """As the reward term `repetition` with ngram_size 2."""
    rewards = []
    for text in completions:
        words = text.split()
        pairs = list(zip(words, words[1:]))
        rewards.append(len(set(pairs)) / len(pairs) - 1 if pairs else 0.0)
    return rewards


class OnDemand(transformers.TrainerCallback):
    def on_step_begin(self, args, state, control, **_):
        if not sys.stdin.readline():
            os._exit(0)
        self.start = time.perf_counter(), time.process_time()

    def on_log(self, args, state, control, logs, **_):
        if "completions/mean_length" not in logs:
            return
        print(json.dumps({"seconds": self.end[0] - self.start[0], "cpu_seconds": self.end[1] - self.start[1],
                          "mean_length": logs["completions/mean_length"]}), file=answers, flush=True)

    def on_step_end(self, args, state, control, **_):
        self.end = time.perf_counter(), time.process_time()


trainer = trl.GRPOTrainer(
    model=model, reward_funcs=repetition, processing_class=tokenizer, callbacks=[OnDemand()],
    train_dataset=datasets.Dataset.from_list([{"prompt": prompt} for prompt in json.load(open(prompts))]),
    args=trl.GRPOConfig(
        output_dir=tempfile.mkdtemp(), use_cpu=True, bf16=False, per_device_train_batch_size=int(group),
        num_generations=int(group), max_completion_length=int(new_tokens), gradient_accumulation_steps=1,
        gradient_checkpointing=False, learning_rate=1e-6, temperature=1.0, beta=0.0, max_grad_norm=1.0, max_steps=1000,
        logging_steps=1, save_strategy="no", report_to="none", dataloader_num_workers=0))
print("ready", file=answers, flush=True)
trainer.train()
