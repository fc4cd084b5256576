"""Texts in, translations or summaries out: what ``translate`` and ``summarize`` do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from QEfficient import arguments
from QEfficient.errors import UsageError
from QEfficient.generation.call import Call
from QEfficient.generation.forms import devices_of
from QEfficient.generation.from_prompts import text_of
from QEfficient.generation.from_sources import read_source_call
from QEfficient.generation.loaded import LoadedGenerator
from QEfficient.generation.program_parts import repo, vocabulary
from QEfficient.generation.requests import Ticket
from QEfficient.generation.running_calls import run
from QEfficient.generation.settings_fields import OBEYED
from QEfficient.generation.source_pieces import ReadText, SourcePiece, pieces_of
from QEfficient.generation.strategy import Answer
from QEfficient.progress import progress
from QEfficient.text.languages import (
    SUMMARIZATION,
    PrefixTask,
    choose_languages,
    prefix_tasks,
    translation_task,
)
from QEfficient.text.sides import SOURCE, TARGET

_WINDOW = 512
"""Pieces that are asked for at once: so many requests are in memory, however many texts there are."""
_NOT_HERE = ("streamer", "prompts", "input_ids", "inputs", "attention_mask", "tokenizer", "return_dict_in_generate")


class SourceTexts:
    """One call of ``translate`` or ``summarize``.

    Args:
        loaded: The program.
        keywords: The caller's: ``device_id``, ``device_ids``, and those that say how tokens are chosen.
        overlong: ``"error"`` or ``"split"``.
        prefix: What stands before each text; ``None``: what the repo has for the task.
        show_progress: A bar; ``None``: for many texts and somebody who watches.

    Raises:
        LoadError: The program takes ids only.
        UsageError: A keyword does not fit.
    """

    def __init__(
        self,
        loaded: LoadedGenerator,
        keywords: Mapping[str, Any],
        *,
        overlong: str = "error",
        prefix: str | None = None,
        show_progress: bool | None = None,
    ) -> None:
        left = dict(keywords)
        for name in _NOT_HERE:
            if left.pop(name, None) is not None:
                raise UsageError(
                    f"{name} is of generate.", got=f"{name}=…", allowed="texts as first argument", do=f"drop {name}"
                )
        self._split = arguments.one_of("overlong", overlong, ("error", "split")) == "split"
        if prefix is not None and not isinstance(prefix, str):
            raise UsageError(
                "prefix is no string.", got=f"prefix={prefix!r}", allowed="a string, or None", do="pass a string"
            )
        self._loaded, self._prefix, self._shown = loaded, prefix, show_progress
        self._devices = devices_of(left)
        self._tokenizer = loaded.two_sides
        self._keywords = left
        self._tasks = prefix_tasks(loaded.config, OBEYED.__contains__)

    def translate(self, texts: Any, source: str | None, target: str | None) -> str | list[str]:
        """The translation of one text, or of each of a list; see ``QEFFAutoModelForSeq2SeqLM.translate``."""
        rows = _read(texts)
        for side, language in (("source", source), ("target", target)):
            if language is not None and not isinstance(language, str):
                raise UsageError(
                    f"{side} is no language.", got=f"{side}={language!r}", allowed="a string, or None", do="name it"
                )
        task = PrefixTask() if self._prefix is not None else translation_task(self._tasks, source, target, rows)
        if task is None or self._prefix is not None:
            written = self._written(rows, task or PrefixTask(), source, target)
        else:
            written = self._written(rows, task, None, None)
        return written[0] if isinstance(texts, str) else written

    def summarize(self, texts: Any, language: str | None) -> str | list[str]:
        """The summary of one text, or of each of a list; see ``QEFFAutoModelForSeq2SeqLM.summarize``."""
        rows = _read(texts)
        task = self._tasks.get(SUMMARIZATION, PrefixTask())
        chosen = self._tokenizer.sides.names or (SOURCE,)  # where there is none to choose, one that is named is refused
        written = self._written(rows, task, *(language if side in chosen else None for side in (SOURCE, TARGET)))
        return written[0] if isinstance(texts, str) else written

    def _written(self, texts: Sequence[str], task: PrefixTask, source: str | None, target: str | None) -> list[str]:
        sides, reader = self._tokenizer.sides, self._tokenizer.reader
        languages = choose_languages(sides, source, target, repo(self._loaded), texts, reader)
        keywords = {**self._of_task(task), **languages.settings, **self._keywords}
        call, start = self._call(keywords)
        pieces = pieces_of(
            [self._source(text, task) for text in texts],
            lambda text: reader.ids(text, languages.chosen),
            self._loaded.facts.source_room,
            split=self._split,
        )
        parts: list[list[str]] = [[] for _ in texts]
        for piece, answer in zip(pieces, self._answers(pieces, call, start, len(texts)), strict=True):
            parts[piece.owner].append(text_of(answer, call, self._tokenizer).strip())
        return [" ".join(part for part in mine if part) for mine in parts]

    def _call(self, keywords: Mapping[str, Any]) -> tuple[Call, int]:
        """How tokens are chosen, and the one that the decoder begins with: checked before anything is read."""
        call, [start] = read_source_call(self._loaded, keywords, 1)
        if call.settings.num_return_sequences > 1:
            raise UsageError(
                "A text has one answer here.",
                got=f"num_return_sequences={call.settings.num_return_sequences}",
                allowed="1",
                do="use generate for more",
            )
        return dataclasses.replace(call, tokenizer=self._tokenizer), start

    def _of_task(self, task: PrefixTask) -> dict[str, Any]:
        """What the repo has for the task; a length that the program has no room for is what there is room for."""
        found = dict(task.settings)
        if isinstance(found.get("max_length"), int):
            found["max_length"] = min(found["max_length"], self._loaded.facts.room)
        return found

    def _source(self, text: str, task: PrefixTask) -> ReadText:
        """The text with what stands before each of its pieces: its own beginning where it has one."""
        code, rest = self._tokenizer.reader.split(text)
        if code is not None:
            return ReadText(text[: len(text) - len(rest)], rest)
        if self._prefix is not None:
            return ReadText(self._prefix, text)
        for one in self._tasks.values():
            if one.prefix and text.startswith(one.prefix):
                return ReadText(one.prefix, text[len(one.prefix) :])
        return ReadText(task.prefix, text)

    def _answers(self, pieces: Sequence[SourcePiece], call: Call, start: int, texts: int) -> list[Answer]:
        """What is written about each piece."""
        found: list[Answer] = []
        left = [0] * texts
        for piece in pieces:
            left[piece.owner] += 1
        engine = self._loaded.engine(self._devices)
        with progress(texts, self._shown, "writing", "text") as advance:
            if advance is not None:
                advance(left.count(0))
            for first in range(0, len(pieces), _WINDOW):
                window = pieces[first : first + _WINDOW]
                watch = None if advance is None else _Counting(window, left, advance)
                sources = [piece.ids for piece in window]
                begun = [[start]] * len(window)
                requests = call.requests(begun, self._loaded.facts, vocabulary(self._loaded), sources=sources)
                found += [answers[0] for answers in run(engine, requests, watch).answers]
        return found


class _Counting:
    """Tells a bar of each text whose last piece has ended."""

    def __init__(self, pieces: Sequence[SourcePiece], left: list[int], advance: Callable[[int], None]) -> None:
        self._pieces, self._left, self._advance = pieces, left, advance
        self._seen: set[int] = set()

    def __call__(self, number: int, ticket: Ticket) -> None:
        if ticket.done and number not in self._seen:
            self._seen.add(number)
            owner = self._pieces[number].owner
            self._left[owner] -= 1
            if not self._left[owner]:
                self._advance(1)


def _read(texts: Any) -> list[str]:
    return [texts] if isinstance(texts, str) else arguments.strings("texts", texts)
