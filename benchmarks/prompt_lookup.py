"""Prompt look-up with SmolLM2-135M on this machine: texts that repeat their prompt, and others, with it and without.

    python benchmarks/prompt_lookup.py [--rounds 5] [--ahead 10]

A text repeats its prompt where it is asked to be copied with a change, corrected, or quoted. Both ways have the same
program, take turns, and write the same number of tokens greedily; a ratio is that of two runs one after the other.
"""

from __future__ import annotations

import argparse
import statistics
import time
from datetime import UTC, datetime
from importlib.metadata import version

from transformers import AutoTokenizer

from QEfficient import QEFFAutoModelForCausalLM
from QEfficient.backends.host import processor, usable_cpus
from tests import lee_corpus, real_text, smollm2

CODE = '''def total(prices, discount):
    """The sum of all prices, less a discount."""
    result = 0.0
    for price in prices:
        if price < 0:
            raise ValueError("a price is below zero")
        result += price * (1.0 - discount)
    return result


def average(prices, discount):
    """The mean of all prices, less a discount."""
    if not prices:
        raise ValueError("there are no prices")
    return total(prices, discount) / len(prices)
'''


def _edit(ask: str, text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"{ask}\n\n{text}"}]


def cases() -> dict[str, tuple[bool, list[list[dict[str, str]]], int]]:
    """Name → whether it repeats its prompt, conversations, and new tokens of each."""
    articles, snippets = lee_corpus.documents(), real_text.snippets(8)
    ask = "Summarize the text with literal quotes from it."
    return {
        "code edit": (True, [_edit("Rename `prices` to `costs` in this code. Give the whole code.", CODE)], 160),
        "copy": (True, [_edit("Repeat this text word for word.", articles[3])], 160),
        "summary with quotes": (True, [_edit(ask, articles[5])], 160),
        "code edits, four rows": (
            True,
            [_edit(f"Rename `{name}` in this code. Give the whole code.", CODE) for name in ("total", "average")] * 2,
            120,
        ),
        "story": (False, [_edit("Write a short story about a fisherman and his boat.", "")], 160),
        "question": (False, [_edit("What is this about?", snippets[0])], 160),
        "list": (False, [_edit("Name ten things that a traveller needs, and say why.", "")], 160),
        "eight rows": (False, [_edit("Continue this text:", text) for text in snippets], 64),
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ahead", type=int, default=10)
    parser.add_argument("--backend", default="onnxruntime")
    asked = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(smollm2.folder())
    model = QEFFAutoModelForCausalLM.from_pretrained(smollm2.folder())
    model.compile(num_speculative_tokens=asked.ahead, backend=asked.backend)

    def write(prompts: list[str], new: int, ahead: int) -> tuple[float, list[list[int]], tuple[int, int]]:
        ids = [tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
        before = model.device_report()["work"]
        start, found = time.perf_counter(), []
        for out in _rows(model, ids, new, ahead):
            found.append(out)
        spent = time.perf_counter() - start
        after = model.device_report()["work"]
        return spent, found, (after["drafted"] - before["drafted"], after["accepted"] - before["accepted"])

    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {processor()}, {usable_cpus()} CPUs")
    print(", ".join(f"{name} {version(name)}" for name in ("transformers", asked.backend)))
    print("\n| | repeats | without, tokens/s | ratio, median | least | drafted | accepted | same tokens |\n" + "|---" * 8 + "|")
    for name, (repeats, conversations, new) in cases().items():
        prompts = [tokenizer.apply_chat_template(one, tokenize=False, add_generation_prompt=True) for one in conversations]
        write(prompts, 4, 0), write(prompts, 4, asked.ahead)
        taken = [(write(prompts, new, 0), write(prompts, new, asked.ahead)) for _ in range(asked.rounds)]
        ratios = [without[0] / with_it[0] for without, with_it in taken]
        rate = len(prompts) * new / statistics.median(without[0] for without, _ in taken)
        same = all(without[1] == with_it[1] for without, with_it in taken)
        drafted, accepted = taken[0][1][2]
        print(
            f"| {name} | {'yes' if repeats else 'no'} | {rate:.1f} | {statistics.median(ratios):.2f} × "
            f"| {min(ratios):.2f} × | {drafted} | {accepted} | {'yes' if same else 'no'} |"
        )


def _rows(model: QEFFAutoModelForCausalLM, ids: list[list[int]], new: int, ahead: int) -> list[list[int]]:
    """The new ids of each row."""
    width = max(map(len, ids))
    padded = [[0] * (width - len(row)) + row for row in ids]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in ids]
    how = {"do_sample": False, "max_new_tokens": new, "min_new_tokens": new, "prompt_lookup_num_tokens": ahead}
    found = model.generate(padded, attention_mask=mask, **how)
    return [row[width:].tolist() for row in found]


if __name__ == "__main__":
    main()
