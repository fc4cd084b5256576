"""Prompt look-up with SmolLM2-135M on this machine: texts that repeat their prompt, and others, with it and without.

    python benchmarks/prompt_lookup.py [--rounds 5] [--ahead 10]

A text that repeats its prompt is code that is edited, or a text that is quoted; the first words of the answer are
given, so that this small model does what is asked. The others are drawn, since what it takes for likeliest soon goes
round in circles. Both ways have the same program, take turns, and write the same number of tokens; a ratio is that of
two runs one after the other. Prompts are held already: what is timed is the writing. The processors' time stands beside
the clock's, since others may be at work on the machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

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


@dataclass(frozen=True)
class Case:
    """What is written.

    Attributes:
        asked: What each user says, and how the answer begins.
        new: Tokens of each answer.
        repeats: Whether answers repeat their prompts.
        how: Parameters.
    """

    asked: Sequence[tuple[str, str]]
    new: int
    repeats: bool = True
    how: dict[str, Any] = field(default_factory=dict)


def cases() -> dict[str, Case]:
    """By name."""
    articles, snippets = lee_corpus.documents(), real_text.snippets(8)
    drawn = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 0.95, "seed": 1}
    edits = [
        (f"Rename `{old}` to `{new}` in this code, and give the whole code.\n\n{CODE}", f"```python\n{begun}")
        for old, new, begun in (
            ("prices", "costs", "def total(costs, discount):\n"),
            ("discount", "rebate", "def total(prices, rebate):\n"),
            ("total", "overall", "def overall(prices, discount):\n"),
            ("result", "found", 'def total(prices, discount):\n    """The sum of all prices'),
        )
    ]
    quotes = [
        (f"Which sentences of this text are the most important? Quote them.\n\n{text}", f'They are:\n\n"{text[:60]}')
        for text in articles[3:7]
    ]
    return {
        "code edit": Case(edits[:1], 128),
        "quotes": Case(quotes[:1], 128),
        "summary": Case([(f"Summarize:\n\n{articles[20]}", "")], 128),
        "four code edits": Case(edits, 128),
        "four texts quoted": Case(quotes, 128),
        "story, drawn": Case([("Write a short story about a fisherman and his boat.", "")], 128, False, drawn),
        "answer, drawn": Case([(f"What is this about?\n\n{articles[8]}", "")], 128, False, drawn),
        "eight texts gone on with, drawn": Case([("Go on: " + text, "") for text in snippets], 64, False, drawn),
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
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {processor()}, {usable_cpus()} CPUs")
    print(", ".join(f"{name} {version(name)}" for name in ("transformers", asked.backend)))
    print(
        "\n| | repeats | without, tokens/s | times faster, median | least | by CPU time | drafted | accepted | same |"
    )
    print("|" + "---|" * 9)
    for name, case in cases().items():
        ids = [_ids(tokenizer, *one) for one in case.asked]
        written = [[_write(model, ids, case, ahead) for ahead in (0, asked.ahead)] for _ in range(asked.rounds + 1)][1:]
        by_clock, by_cpu = ([one[0][place] / one[1][place] for one in written] for place in (0, 1))
        rate = len(ids) * case.new / statistics.median(one[0][0] for one in written)
        drafted, accepted = written[0][1][2]
        same = all(one[0][3] == one[1][3] for one in written)
        print(
            f"| {name} | {'yes' if case.repeats else 'no'} | {rate:.1f} | {statistics.median(by_clock):.2f} "
            f"| {min(by_clock):.2f} | {statistics.median(by_cpu):.2f} | {drafted} | {accepted} "
            f"| {'yes' if same else 'no'} |",
            flush=True,
        )


def _ids(tokenizer: Any, user: str, begun: str) -> list[int]:
    """A conversation's tokens, with the answer's first words."""
    talk = [{"role": "user", "content": user}]
    text = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    found: list[int] = tokenizer(text + begun, add_special_tokens=False)["input_ids"]
    return found


def _write(
    model: QEFFAutoModelForCausalLM, ids: list[list[int]], case: Case, ahead: int
) -> tuple[float, float, tuple[int, int], list[list[int]]]:
    """Seconds by the clock and by the processors, tokens drafted and accepted, and the new ids of each row."""
    width = max(map(len, ids))
    padded = [[0] * (width - len(row)) + row for row in ids]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in ids]
    length = {"max_new_tokens": case.new, "min_new_tokens": case.new}
    before = _counted(model)
    clock, cpu = time.perf_counter(), time.process_time()
    found = model.generate(padded, attention_mask=mask, prompt_lookup_num_tokens=ahead, **length, **case.how)
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    after = _counted(model)
    return clock, cpu, (after[0] - before[0], after[1] - before[1]), found[:, width:].tolist()


def _counted(model: QEFFAutoModelForCausalLM) -> tuple[int, int]:
    work = model.device_report()["work"] or {"drafted": 0, "accepted": 0}
    return work["drafted"], work["accepted"]


if __name__ == "__main__":
    main()
