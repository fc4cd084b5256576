"""HuggingFace's ``generate``: ids in, ids or its output record out. It prints nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient import arguments
from QEfficient.errors import InputError, UsageError
from QEfficient.generation.call import GRAMMARS, Call, read_call
from QEfficient.generation.callers_objects import Streamer
from QEfficient.generation.forms import Asked
from QEfficient.generation.from_prompts import pad_id
from QEfficient.generation.id_rows import IdRows, padded, read_ids
from QEfficient.generation.program_parts import WritesText, repo, tokenizer_of, vocabulary
from QEfficient.generation.requests import Ticket
from QEfficient.generation.results import GenerationOutput
from QEfficient.generation.running_calls import Watch, run
from QEfficient.generation.strategy import Answer
from QEfficient.generation.tokenizing import GenerationTokenizer

NEW_TOKENS = 20
"""How many transformers writes where nobody says (``GenerationMixin._prepare_generated_length``)."""


def generate_ids(loaded: WritesText, asked: Asked) -> tuple[GenerationOutput, bool, bool]:
    """Writes on from ids.

    Args:
        loaded: The program.
        asked: The call. Of its keywords ``streamer`` and ``token_type_ids`` are this form's own.

    Returns:
        The record with all that was asked for; whether the caller wants the record; whether tensors came in.

    Raises:
        UsageError: A keyword does not fit.
        InputError: A row does not fit the program.
        DeviceError: The device failed.
    """
    keywords = dict(asked.keywords)
    streamer = take_streamer(keywords, "prompts")
    call = read_call(keywords, repo(loaded), tokenizer_if_needed(loaded, keywords, asked.tokenizer))
    rows = read_ids(asked.ids, asked.attention_mask, vocabulary(loaded))
    return write(loaded, call, rows, streamer, asked.devices)


def take_streamer(keywords: dict[str, Any], others: str) -> Streamer | None:
    """Takes what is of calls by ids alone out of their keywords: ``streamer``, and what says nothing here.

    Args:
        keywords: The caller's.
        others: Those to whom ``stream`` belongs.

    Raises:
        UsageError: ``stream``, or something that is no streamer.
        InputError: ``token_type_ids`` that mean something.
    """
    _no_types(keywords.pop("token_type_ids", None))
    if keywords.pop("stream", False):
        raise UsageError(
            f"stream belongs to {others}.", got="input_ids and stream=True", allowed="streamer=", do="pass a streamer"
        )
    streamer = keywords.pop("streamer", None)
    return None if streamer is None else Streamer(streamer)


def write(
    loaded: WritesText,
    call: Call,
    rows: IdRows,
    streamer: Streamer | None,
    devices: Sequence[int] | None,
    sources: Sequence[Sequence[int]] | None = None,
) -> tuple[GenerationOutput, bool, bool]:
    """Writes on from rows of ids.

    Args:
        loaded: The program.
        call: How tokens are chosen.
        rows: What is gone on from.
        streamer: Sees the tokens.
        devices: Of the card.
        sources: What an encoder reads for each row.

    Returns:
        As :func:`generate_ids`.
    """
    watch = None if streamer is None else _streaming(streamer, rows, call)
    requests = call.requests(
        rows.prompts,
        loaded.facts,
        vocabulary(loaded),
        otherwise=NEW_TOKENS,
        width=rows.given.shape[1],
        sources=sources,
    )
    if streamer is not None:
        streamer.begin(rows.given)
    ran = run(loaded.engine(devices), requests, watch)
    if streamer is not None:
        streamer.end()
    return _output(rows, ran.answers, call), call.settings.return_dict_in_generate, rows.tensors


def tokenizer_if_needed(loaded: WritesText, keywords: Mapping[str, Any], callers: Any) -> GenerationTokenizer | None:
    """A tokenizer where the caller has one, or where something that is asked for is about text.

    Args:
        loaded: The program.
        keywords: The call's.
        callers: The caller's tokenizer.
    """
    asks = any(keywords.get(name) or repo(loaded).get(name) for name in ("stop_strings", *GRAMMARS))
    return tokenizer_of(loaded, callers) if asks or callers is not None else None


def _no_types(types: Any) -> None:
    if types is not None and np.asarray(arguments.on_host(types)).any():
        raise InputError(
            "token_type_ids are not all 0.",
            got="token types",
            allowed="zeros: these models have one type of token",
            do="drop token_type_ids",
        )


def _streaming(streamer: Streamer, rows: IdRows, call: Call) -> Watch:
    """Hands tokens over as they come."""
    count = len(rows.prompts) * call.settings.num_return_sequences
    if count > 1 or call.settings.num_beams > 1:
        raise UsageError(
            "A streamer shows one sequence.",
            got=f"{count} sequences, num_beams={call.settings.num_beams}",
            allowed="one row, without beams",
            do="call once a row, or drop streamer",
        )
    seen = 0

    def watch(number: int, ticket: Ticket) -> None:
        nonlocal seen
        for token in ticket.tokens[seen:]:
            seen += 1
            streamer.put(token)

    return watch


def _output(rows: IdRows, answers: Sequence[Sequence[Answer]], call: Call) -> GenerationOutput:
    flat = [answer for of_prompt in answers for answer in of_prompt]
    sequences = rows.with_answers([answer.ids for answer in flat], pad_id(call))
    settings = call.settings
    beams = settings.num_beams > 1
    of_rows = [of_prompt[0] for of_prompt in answers] if beams else flat  # all beams of a prompt share what is kept
    scored = settings.return_dict_in_generate and settings.output_scores
    return GenerationOutput(
        sequences,
        np.array([answer.score for answer in flat], np.float32) if beams and scored else None,
        _steps([answer.scores for answer in of_rows]) if scored else None,
        _steps([answer.logits for answer in of_rows])
        if settings.return_dict_in_generate and settings.output_logits
        else None,
        _beam_indices(answers, settings.num_beams) if beams and scored else None,
    )


def _steps(kept: Sequence[Sequence[NDArray[np.float32]]]) -> tuple[NDArray[np.float32], ...]:
    """For each step the rows of all prompts under each other; zeros behind a row's end."""
    found = []
    for step in range(max(map(len, kept), default=0)):
        like = next(one[step] for one in kept if step < len(one))
        parts = [one[step] if step < len(one) else np.zeros_like(like) for one in kept]
        found.append(np.concatenate([part.reshape(-1, part.shape[-1]) for part in parts]))
    return tuple(found)


def _beam_indices(answers: Sequence[Sequence[Answer]], num_beams: int) -> NDArray[np.int64]:
    """The rows that tokens go on from, counted over all prompts as transformers does."""
    return padded(
        [
            [index + place * num_beams for index in answer.beam_indices]
            for place, of_prompt in enumerate(answers)
            for answer in of_prompt
        ],
        -1,
    )
