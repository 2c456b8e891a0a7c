#!/usr/bin/env python3
"""Draws a run as SVG: training loss, held-out loss, and questions with their answers before and after.
usage: draw_run.py RUN/metrics.jsonl OUT.svg [ANSWERS.jsonl: {"question", "before", "after"}]"""
import html
import json
import sys

WIDTH, LEFT, TOP, CHART_W, CHART_H = 860, 56, 46, 780, 250


def read(path):
    return [json.loads(line) for line in open(path, encoding="utf-8")]


def path_of(points, x, y):
    return " ".join(f"{'L' if i else 'M'}{x(step):.1f} {y(value):.1f}" for i, (step, value) in enumerate(points))


def chart(rows):
    train = [(r["step"], r["loss"]) for r in rows if "loss" in r]
    held_out = [(r["step"], r["eval_loss"]) for r in rows if "eval_loss" in r]
    last = max(step for step, _ in train)
    low, high = min(v for _, v in train + held_out) - 0.1, max(v for _, v in train + held_out) + 0.1
    x = lambda step: LEFT + CHART_W * step / last
    y = lambda value: TOP + CHART_H * (high - value) / (high - low)
    parts = []
    for i in range(5):
        value = low + (high - low) * i / 4
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + CHART_W}" y1="{y(value):.1f}" y2="{y(value):.1f}" class="grid"/>'
                     f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.1f}</text>')
    for step in range(0, last + 1, max(1, last // 8)):
        parts.append(f'<text x="{x(step):.1f}" y="{TOP + CHART_H + 18}" text-anchor="middle">{step}</text>')
    parts.append(f'<path d="{path_of(train, x, y)}" class="train"/><path d="{path_of(held_out, x, y)}" class="eval"/>')
    for step, value in held_out:
        parts.append(f'<circle cx="{x(step):.1f}" cy="{y(value):.1f}" r="4" class="dot"/>'
                     f'<text x="{min(x(step) + 8, LEFT + CHART_W - 30):.1f}" y="{y(value) - 8:.1f}" class="strong">{value:.2f}</text>')
    drop = 100 * (held_out[0][1] - held_out[-1][1]) / held_out[0][1]
    title = f"held-out loss {held_out[0][1]:.3f} to {held_out[-1][1]:.3f} nats per token: {drop:.0f} % lower after {last} steps"
    return [f'<text x="{LEFT}" y="26" class="title">{title}</text>'] + parts


def answers(rows, top):
    parts = []
    for row in rows:
        parts.append(f'<text x="{LEFT}" y="{top}" class="strong">{html.escape(row["question"])}</text>')
        for name, offset in (("before", 19), ("after", 37)):
            text = " ".join(row[name].split())
            text = text if len(text) <= 104 else text[:103] + "\u2026"
            parts.append(f'<text x="{LEFT}" y="{top + offset}" class="{name}">{name}: {html.escape(text)}</text>')
        top += 64
    return parts, top


def main():
    parts = chart(read(sys.argv[1]))
    bottom = TOP + CHART_H + 52
    if len(sys.argv) > 3:
        more, bottom = answers(read(sys.argv[3]), bottom)
        parts += more
    style = ("text{font:13px sans-serif;fill:#444}.title{font-size:16px;font-weight:600;fill:#111}.strong{font-weight:600;fill:#111}"
             ".grid{stroke:#e3e3e3}.train{fill:none;stroke:#9bb8d3;stroke-width:1.5}.eval{fill:none;stroke:#1f5fa0;stroke-width:2.5}"
             ".dot{fill:#1f5fa0}.before{fill:#8a5a44}.after{fill:#1b6e3c}")
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        out.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom - 20}" width="{WIDTH}">'
                  f'<style>{style}</style><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n')


main()
