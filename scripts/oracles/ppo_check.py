"""Method ppo against the PPOTrainer of TRL 1.9.2 in fp32 on tiny models: three generations of the same recorded answers, four epochs each.

TRL samples and judges on its own; here both are replaced by what was recorded. Every answer fills its batch's width, so that
TRL's step behind the end of shorter ones does not come in. The critic is a model of its own in both.
"""
import copy
import json
import pathlib
import random
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(sys.prefix) / "trl-with-ppo"))
import datasets
import torch
import transformers
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

from common import run, verdict, write_config

program, gguf = sys.argv[1:3]
UPDATES, EPOCHS, BATCH, PROMPT, ANSWER, RATE = 3, 4, 8, 5, 7, 1e-3
SETTINGS = dict(vf_coef=0.3, gamma=0.98, lam=0.9, whiten_rewards=True, kl_estimator="k3")
NAMES = ["objective/kl", "objective/entropy", "objective/non_score_reward", "objective/rlhf_reward", "objective/scores",
         "policy/approxkl_avg", "policy/clipfrac_avg", "loss/policy_avg", "loss/value_avg", "val/clipfrac_avg", "val/ratio"]
work = pathlib.Path(tempfile.mkdtemp(prefix="phalanx-ppo-check-"))
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
datasets.disable_progress_bars()


def save_models():
    tokenizer = transformers.AutoTokenizer.from_pretrained(pathlib.Path(gguf).resolve().parent, gguf_file=pathlib.Path(gguf).name)
    torch.manual_seed(7)
    sizes = dict(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                 num_key_value_heads=2, initializer_range=0.2, tie_word_embeddings=True, bos_token_id=tokenizer.bos_token_id,
                 eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes)).save_pretrained(work / "policy")
    transformers.LlamaForSequenceClassification(transformers.LlamaConfig(**sizes, num_labels=1)).save_pretrained(work / "critic")
    for name in ("policy", "critic"):
        tokenizer.save_pretrained(work / name)
    return tokenizer


tokenizer = save_models()
random.seed(3)
ids = lambda count: [random.randrange(100, 5000) for _ in range(count)]
recorded = [dict(prompt_ids=ids(PROMPT), completion_ids=[ids(ANSWER)], rewards=[random.gauss(0, 1)]) for _ in range(BATCH)]
(work / "rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in recorded))
by_prompt = {tuple(row["prompt_ids"]): row for row in recorded}


def ours():
    config = write_config(work / "ppo.yaml", f"""
run: {{name: ppo, output_dir: {work}/run}}
model: {{path: {work}/policy, dtype: fp32}}
method: {json.dumps(dict(name="ppo", critic="separate", value_model=str(work / "critic"), rollouts=str(work / "rollouts.jsonl"),
                         max_completion_length=ANSWER, num_iterations=EPOCHS, **SETTINGS))}
optimizer: {{learning_rate: {RATE}}}
schedule: {{name: constant}}
train: {{max_steps: {UPDATES * EPOCHS}, global_batch_size: {BATCH}, micro_batch_size: 2, max_grad_norm: 0, precision: fp32}}
checkpoint: {{every_steps: 0}}
""")
    run([program, "train", config])
    rows = [row for row in map(json.loads, open(work / "run" / "metrics.jsonl")) if "loss" in row]
    return [{name: sum(row[name] for row in rows[first:first + EPOCHS]) / EPOCHS for name in NAMES}
            for first in range(0, len(rows), EPOCHS)]


def theirs():
    load = lambda kind, name: kind.from_pretrained(work / name, dtype=torch.float32)
    policy, critic = load(transformers.AutoModelForCausalLM, "policy"), load(transformers.AutoModelForSequenceClassification, "critic")
    judge, get_reward = copy.deepcopy(critic), ppo_trainer.get_reward

    def answers(model, queries, batch_size, pad_token_id, generation_config):
        rows = [by_prompt[tuple(query)] for query in queries.tolist()]
        whole = torch.cat([queries, torch.tensor([row["completion_ids"][0] for row in rows])], 1)
        logits = ppo_trainer.forward(model, whole, pad_token_id).logits[:, PROMPT - 1:-1]
        return whole, logits / (1.0 + 1e-7)

    def rewards(model, whole, pad_token_id, context_length):
        if model is not judge:
            return get_reward(model, whole, pad_token_id, context_length)
        return None, torch.tensor([by_prompt[tuple(row)]["rewards"][0] for row in whole[:, :context_length].tolist()]), None

    ppo_trainer.batch_generation, ppo_trainer.get_reward = answers, rewards
    config = PPOConfig(output_dir=str(work / "trl"), per_device_train_batch_size=BATCH, gradient_accumulation_steps=1, num_mini_batches=1,
                       total_episodes=UPDATES * BATCH, num_ppo_epochs=EPOCHS, learning_rate=RATE, lr_scheduler_type="constant",
                       response_length=ANSWER, temperature=1.0, num_sample_generations=0, local_rollout_forward_batch_size=BATCH,
                       use_cpu=True, bf16=False, report_to="none", logging_steps=1, save_strategy="no", disable_tqdm=True,
                       gradient_checkpointing=False, dataloader_pin_memory=False, weight_decay=0.0, **SETTINGS)
    data = datasets.Dataset.from_list([{"input_ids": row["prompt_ids"]} for row in recorded])
    trainer = PPOTrainer(args=config, processing_class=tokenizer, model=policy, ref_model=copy.deepcopy(policy), reward_model=judge,
                         value_model=critic, train_dataset=data, eval_dataset=data)
    rows = []
    trainer.log = lambda metrics, *more: rows.append(metrics)
    trainer.train()
    return rows, policy.state_dict(), critic.state_dict()


def weights_apart(folder, theirs):
    from safetensors.torch import load_file
    mine = load_file(folder / "model.safetensors")
    return max(((mine[name] - theirs[name]).norm() / theirs[name].norm()).item() for name in mine)


mine = ours()
rows, policy, critic = theirs()
assert len(mine) == len(rows) == UPDATES, (len(mine), len(rows))
apart = {name: max(abs(a[name] - b[name]) / max(abs(b[name]), 1e-1) for a, b in zip(mine, rows)) for name in NAMES}
worst = max(apart, key=apart.get)
for name in NAMES:
    print(f"  {name}: {apart[name]:.1e}, " + ", ".join(f"{a[name]:.6f} / {b[name]:.6f}" for a, b in zip(mine, rows)))
verdict("ppo", apart[worst] <= 1e-5, f"{UPDATES * EPOCHS} steps, worst difference of the figures {apart[worst]:.1e} ({worst}; limit 1e-5)")
for name, folder, expected in (("policy", "run/final", policy), ("critic", "run/final/critic", critic)):
    distance = weights_apart(work / folder, expected)
    verdict(f"ppo {name}", distance <= 1e-4, f"weights after {UPDATES * EPOCHS} steps {distance:.1e} apart (limit 1e-4)")
