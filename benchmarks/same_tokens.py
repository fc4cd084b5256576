"""Are the tokens HuggingFace's? SmolLM2-135M, float32, greedy, 64 new tokens for each of 200 real prompts.

    python -m benchmarks.same_tokens [--prompts 200] [--orders 20] [--card 16] [--reference FILE]

transformers writes one prompt at a time, without padding: an hour of one CPU, which ``--reference`` keeps in a file.
Ours are all asked for at once. Where the tokens part, transformers' own two best logits at that step tell whether it
was a tie: nearer than 1e-3, either is right. Then 16 of the prompts in orders, chunks and arrivals drawn at random, and
the same prompts on the tests' fake card of both SDK generations, whose caches are in float16: nothing ran on hardware.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from QEfficient import QEFFAutoModelForCausalLM
from QEfficient import program as programs
from QEfficient.backends import registry
from QEfficient.generation.engine import Engine
from QEfficient.generation.requests import Request, Ticket
from QEfficient.generation.schedule import EngineSettings
from QEfficient.generation.session_decoder import SessionDecoder
from QEfficient.generation.settings_reading import parse_settings
from QEfficient.generation.strategies import strategies
from tests import smollm2
from tests.sdk import make_sdk

TIE = 1e-3
"""Logits nearer than this are a tie."""

VOCABULARY, END = 49_152, 2
CARD_CONTEXT = 512


@dataclass(frozen=True)
class Reference:
    """What transformers writes behind one prompt.

    Attributes:
        prompt: Its ids.
        ids: The new ones.
        gaps: How far the two best logits of each step are apart.
    """

    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    gaps: tuple[float, ...]

    def parts(self, ours: Sequence[int]) -> int | None:
        """The first step at which our tokens are others; ``None``: they are equal."""
        places = (place for place, pair in enumerate(zip(self.ids, ours, strict=False)) if pair[0] != pair[1])
        return next(places, None if len(ours) == len(self.ids) else min(len(ours), len(self.ids)))


def prompts(count: int) -> list[list[int]]:
    """The ids of the first conversations, through the model's chat template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2.folder())
    talks = smollm2.conversations()[:count]
    return [tokenizer.apply_chat_template(list(one), add_generation_prompt=True)["input_ids"] for one in talks]


def by_transformers(rows: Sequence[Sequence[int]], new: int = smollm2.NEW_TOKENS) -> list[Reference]:
    """Each prompt by itself."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(smollm2.folder(), dtype=torch.float32).eval()
    found = []
    for number, row in enumerate(rows):
        with torch.inference_mode():
            given = torch.tensor([list(row)])
            out = model.generate(
                given,
                attention_mask=torch.ones_like(given),
                do_sample=False,
                max_new_tokens=new,
                output_scores=True,
                return_dict_in_generate=True,
            )
        gaps = [float(scores[0].topk(2).values.diff().abs()) for scores in out.scores]
        found.append(Reference(tuple(row), tuple(out.sequences[0, len(row) :].tolist()), tuple(gaps)))
        if number % 20 == 19:
            print(f"  transformers: {number + 1} prompts", flush=True)
    return found


def references(count: int, file: Path | None) -> list[Reference]:
    """From the file, or written now and kept in it."""
    if file is not None and file.is_file():
        known = json.loads(file.read_text())
        read = [Reference(*(tuple(one[name]) for name in ("prompt", "ids", "gaps"))) for one in known][:count]
        if [list(one.prompt) for one in read] == prompts(count):
            return read
    found = by_transformers(prompts(count))
    if file is not None:
        file.write_text(json.dumps([asdict(one) for one in found]))
    return found


def written(model: QEFFAutoModelForCausalLM, rows: Sequence[Reference]) -> list[list[int]]:
    """Ours, all prompts in one call."""
    width = max(len(one.prompt) for one in rows)
    ids = np.array([[END] * (width - len(one.prompt)) + list(one.prompt) for one in rows])
    mask = np.array([[0] * (width - len(one.prompt)) + [1] * len(one.prompt) for one in rows])
    out: Any = model.generate(
        input_ids=ids,
        attention_mask=mask,
        do_sample=False,
        max_new_tokens=smollm2.NEW_TOKENS,
        return_dict_in_generate=True,
    )
    new = [row[width:].tolist() for row in out.sequences]
    return [row[: row.index(END) + 1] if END in row else row for row in new]


def report(name: str, rows: Sequence[Reference], ours: Sequence[Sequence[int]], tie: float = TIE) -> list[str]:
    """Prints how many are equal, and gives a line for each that parts without a tie."""
    parted = [(number, one.parts(new)) for number, (one, new) in enumerate(zip(rows, ours, strict=True))]
    apart = [(number, place) for number, place in parted if place is not None]
    gaps = {number: rows[number].gaps[place] for number, place in apart if place < len(rows[number].gaps)}
    ties = [number for number, _ in apart if gaps.get(number, 1.0) < tie]
    print(f"{name}: {len(rows) - len(apart)} of {len(rows)} equal, {len(ties)} part at a tie below {tie}", flush=True)
    lines = [f"prompt {number} parts at step {place}, gap {gaps.get(number)}" for number, place in apart]
    print("".join(f"  {line}\n" for line in lines), end="", flush=True)
    return [line for (number, _), line in zip(apart, lines, strict=True) if number not in ties]


def shuffled(engine: Engine, rows: Sequence[Reference], rng: np.random.Generator) -> list[list[int]]:
    """One order: the prompts come one by one, some while others are written, some all at once."""
    settings = parse_settings({"eos_token_id": END}, {"max_new_tokens": smollm2.NEW_TOKENS, "do_sample": False})
    tickets: dict[int, Ticket] = {}
    for number in rng.permutation(len(rows)).tolist():
        one = rows[number]
        [strategy] = strategies(settings, one.prompt, smollm2.NEW_TOKENS, VOCABULARY)
        tickets[number] = engine.submit(Request(one.prompt, strategy, wanted=smollm2.NEW_TOKENS))
        for _ in range(int(rng.integers(0, 12))):
            engine.step()
    for ticket in tickets.values():
        engine.run_until(ticket)
    return [list(tickets[number].result()[0].ids) for number in range(len(rows))]


def orders(model: QEFFAutoModelForCausalLM, rows: Sequence[Reference], count: int) -> list[str]:
    """The prompts in orders, chunks and arrivals of chance; nothing is kept from one to the next."""
    program = programs.load(Path(model.device_report()["program"]))
    facts = program.manifest.decoder
    assert facts is not None
    wrong = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        chunk = int(rng.choice([1, 7, 32, 100, facts.prefill_len], p=[0.05, 0.15, 0.3, 0.25, 0.25]))
        decoder = SessionDecoder(registry.get(program.manifest.target.backend).open(program), facts)
        with Engine(decoder, EngineSettings(chunk=chunk, prefill_runs=int(rng.integers(1, 4)))) as engine:
            wrong += report(f"order {seed}, chunks of {chunk}", rows, shuffled(engine, rows, rng))
    return wrong


def on_the_card(rows: Sequence[Reference]) -> None:
    """The same on the fake card of both generations: slots, chunks of 32, caches in float16."""
    for generation in ("old", "new"):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["QEFF_QAIC_SDK"] = str(make_sdk(Path(folder) / "qti-aic", generation=generation).root)
            model = QEFFAutoModelForCausalLM.from_pretrained(smollm2.folder(), continuous_batching=True)
            model.compile(backend="qaic", ctx_len=CARD_CONTEXT, full_batch_size=4, num_cores=16)
            start = time.perf_counter()
            report(f"fake card, {generation} SDK", rows, written(model, rows))
            print(f"  {time.perf_counter() - start:.0f} s; {model.device_report()['session']}")
            model.close()


def main() -> int:
    """Prints what was found; 1 where tokens part without a tie on the host."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--orders", type=int, default=20)
    parser.add_argument("--card", type=int, default=16)
    parser.add_argument("--reference", type=Path)
    given = parser.parse_args()
    rows = references(given.prompts, given.reference)
    lengths = [len(one.prompt) for one in rows]
    print(
        f"{len(rows)} prompts of {min(lengths)} to {max(lengths)} tokens, {sum(len(one.ids) for one in rows)} new ones"
    )
    print(f"{sum(min(one.gaps) < TIE for one in rows)} of them meet a tie below {TIE}")
    model = QEFFAutoModelForCausalLM.from_pretrained(smollm2.folder())
    model.compile()
    wrong = report("host, all at once", rows, written(model, rows))
    some = [one for one in rows if len(one.prompt) + smollm2.NEW_TOKENS <= CARD_CONTEXT]
    chosen = some[:: max(1, len(some) // 16)][:16]
    wrong += orders(model, chosen, given.orders)
    model.close()
    if given.card:
        on_the_card(chosen[: given.card])
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
