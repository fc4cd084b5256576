"""The vendor's ``generate``: prompts in, the record of texts, ids and times out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from QEfficient import arguments
from QEfficient.errors import UsageError
from QEfficient.generation.call import Call, read_call
from QEfficient.generation.forms import Asked
from QEfficient.generation.id_rows import check_prompts, padded
from QEfficient.generation.printing import AnswerPrinter
from QEfficient.generation.program_parts import WritesText, repo, tokenizer_of, vocabulary
from QEfficient.generation.requests import Ticket
from QEfficient.generation.results import CloudAI100ExecInfo, PerfMetrics
from QEfficient.generation.running_calls import Ran, Watch, run
from QEfficient.generation.strategy import Answer
from QEfficient.generation.tokenizing import GenerationTokenizer
from QEfficient.records import DecoderFacts
from QEfficient.text.stopping import StopText


def generate_texts(loaded: WritesText, asked: Asked) -> CloudAI100ExecInfo:
    """Writes on from prompts, of any number and lengths.

    Args:
        loaded: The program.
        asked: The call. Of its keywords ``stream`` (True), ``automation`` (False) and ``iteration`` (1) are this
            form's own.

    Raises:
        UsageError: A keyword does not fit.
        InputError: A prompt does not fit the program.
        DeviceError: The device failed.
    """
    keywords, prompts = dict(asked.keywords), asked.prompts or ()
    shown = {name: _flag(name, keywords.pop(name, default)) for name, default in _FLAGS.items()}
    times = arguments.positive("iteration", keywords.pop("iteration", 1), "runs")
    if keywords.pop("streamer", None) is not None:
        raise UsageError(
            "streamer belongs to ids.",
            got="prompts and streamer",
            allowed="stream=True, which prints",
            do="use model.stream(prompt), or pass input_ids",
        )
    tokenizer = tokenizer_of(loaded, asked.tokenizer)
    call = read_call(keywords, repo(loaded), tokenizer, _ends(asked.tokenizer))
    ids = tokenizer.ids(prompts)
    check_prompts(ids, vocabulary(loaded))
    runs = []
    for _ in range(times):
        requests = call.requests(ids, loaded.facts, vocabulary(loaded))
        watch = _printing(prompts, call, tokenizer) if shown["stream"] and call.settings.num_beams == 1 else None
        runs.append(run(loaded.engine(asked.devices), requests, watch))
    found = _record(runs, call, loaded.facts, tokenizer)
    if shown["automation"]:
        print("input=", list(prompts))
        print("output=", found.generated_texts)
        print(found)
    return found


_FLAGS = {"stream": True, "automation": False}


def text_of(answer: Answer, call: Call, tokenizer: GenerationTokenizer) -> str:
    """An answer's text: without special tokens, an end token among them, and without a stop string and what follows."""
    text = tokenizer.text(answer.ids)
    cut = StopText(call.settings.stop_strings)
    return cut.put(text) + cut.end()


def _record(runs: Sequence[Ran], call: Call, facts: DecoderFacts, tokenizer: GenerationTokenizer) -> CloudAI100ExecInfo:
    answers = [answer for of_prompt in runs[-1].answers for answer in of_prompt]
    texts = [text_of(answer, call, tokenizer) for answer in answers]
    width = call.settings.max_new_tokens if "max_new_tokens" in call.settings.named else None
    size = 1 if facts.continuous else facts.decode_rows
    ids = padded([answer.ids for answer in answers], pad_id(call), width)
    perf = _mean([one.perf(size) for one in runs])
    if facts.continuous:
        return CloudAI100ExecInfo(size, texts, ids, perf)
    starts = range(0, len(texts), size)
    return CloudAI100ExecInfo(size, [texts[i : i + size] for i in starts], [ids[i : i + size] for i in starts], perf)


def pad_id(call: Call) -> int:
    """What fills a row up: the pad token, else the first end token, as transformers does; else 0."""
    settings = call.settings
    if settings.pad_token_id is not None and settings.pad_token_id >= 0:
        return settings.pad_token_id
    return settings.eos_token_id[0] if settings.eos_token_id else 0


def _mean(found: Sequence[PerfMetrics]) -> PerfMetrics:
    def mean(name: str) -> float:
        return float(np.mean([getattr(one, name) for one in found]))

    times = (mean("prefill_time"), mean("decode_perf"), mean("total_perf"), mean("total_time"))
    return PerfMetrics(*times, drafted=round(mean("drafted")), accepted=round(mean("accepted")))


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise UsageError(
            f"{name} is no bool.", got=f"{name}={value!r}", allowed="True or False", do="pass one of these"
        )
    return bool(value)


def _ends(tokenizer: Any) -> tuple[int, ...]:
    """The end token of a caller's tokenizer, which the vendor stops at."""
    number = arguments.whole(getattr(tokenizer, "eos_token_id", None))
    return () if number is None else (number,)


def _printing(prompts: Sequence[str], call: Call, tokenizer: GenerationTokenizer) -> Watch:
    """Prints each prompt with its answer as tokens come; of several answers to a prompt, one after the other."""
    each = call.settings.num_return_sequences
    printer = AnswerPrinter([prompt for prompt in prompts for _ in range(each)])
    count = len(prompts) * each
    pieces = [tokenizer.pieces() for _ in range(count)]
    cuts = [StopText(call.settings.stop_strings) for _ in range(count)]
    seen = [0] * count
    over = [False] * count

    def watch(number: int, ticket: Ticket) -> None:
        done = ticket.done  # before the tokens are read: then they are all there
        for token in ticket.tokens[seen[number] :]:
            seen[number] += 1
            if piece := cuts[number].put(pieces[number].put(token)):
                printer.put(number, piece)
        if done and not over[number]:
            over[number] = True
            printer.put(number, cuts[number].put(pieces[number].end()) + cuts[number].end())
            printer.end(number)

    return watch
