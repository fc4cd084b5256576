"""``qefficient translate`` and ``qefficient summarize``: texts through a model that reads one and writes another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from QEfficient import hub
from QEfficient.cli import models, text_options
from QEfficient.cli.generate import texts_of
from QEfficient.cli.options import said_in_options
from QEfficient.tasks.catalogue import TEXT2TEXT_GENERATION

if TYPE_CHECKING:
    from QEfficient.auto.seq2seq_lm import QEFFAutoModelForSeq2SeqLM

Texts = Annotated[
    list[str] | None,
    typer.Argument(metavar="TEXT", help="Texts. Left out, and without --texts: all of stdin is one."),
]
TextsFile = Annotated[
    Path | None,
    typer.Option("--texts", exists=True, dir_okay=False, help="A UTF-8 file with one text a line, in their place."),
]
Source = Annotated[str | None, typer.Option(help="The texts' language, by the model's name for it. Left out: its own.")]
Target = Annotated[str | None, typer.Option(help="The language to write, likewise.")]
Language = Annotated[str | None, typer.Option(help="The texts' language, where the model has several.")]
Prefix = Annotated[
    str | None, typer.Option(help="What stands before each text. Left out: what the repo has for this task.")
]
Split = Annotated[
    bool, typer.Option("--split", help="Cut texts that are too long between sentences. Left out: they are refused.")
]
Beams = Annotated[int | None, typer.Option("--num-beams", min=1, help="Beams that are followed. Left out: the repo's.")]
EncoderCtxLen = Annotated[
    int | None, typer.Option(min=2, help="Most tokens of a text that is read at once. Left out: as compile does.")
]
CtxLen = Annotated[int | None, typer.Option(min=2, help="Most tokens that are written. Left out: as compile does.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print a line of JSON for each text.")]


def translate(
    model: models.Model,
    text: Texts = None,
    texts: TextsFile = None,
    source: Source = None,
    target: Target = None,
    prefix: Prefix = None,
    split: Split = False,
    num_beams: Beams = None,
    max_new_tokens: text_options.MaxNewTokens = None,
    encoder_ctx_len: EncoderCtxLen = None,
    ctx_len: CtxLen = None,
    backend: text_options.Backend = None,
    as_json: AsJson = False,
) -> None:
    """Translate texts: one line for each."""
    found = texts_of(text, texts, "--texts", "TEXT")
    with said_in_options():
        loaded = _load(model, backend, encoder_ctx_len=encoder_ctx_len, ctx_len=ctx_len)
        how = _how(num_beams, max_new_tokens, prefix, split)
        _print(found, loaded.translate(found, source, target, **how), as_json)


def summarize(
    model: models.Model,
    text: Texts = None,
    texts: TextsFile = None,
    language: Language = None,
    prefix: Prefix = None,
    split: Split = False,
    num_beams: Beams = None,
    max_new_tokens: text_options.MaxNewTokens = None,
    encoder_ctx_len: EncoderCtxLen = None,
    ctx_len: CtxLen = None,
    backend: text_options.Backend = None,
    as_json: AsJson = False,
) -> None:
    """Summarise texts: one line for each."""
    found = texts_of(text, texts, "--texts", "TEXT")
    with said_in_options():
        loaded = _load(model, backend, encoder_ctx_len=encoder_ctx_len, ctx_len=ctx_len)
        how = _how(num_beams, max_new_tokens, prefix, split)
        _print(found, loaded.summarize(found, language=language, **how), as_json)


def _load(name: str, backend: str | None, **lengths: int | None) -> QEFFAutoModelForSeq2SeqLM:
    """The model, compiled unless it is a saved program."""
    given = {option: length for option, length in lengths.items() if length is not None}
    if hub.is_program(hub.resolve(name).folder):
        if given:
            option = "--" + next(iter(given)).replace("_", "-")
            raise typer.BadParameter(
                f"{name} is a saved program: its lengths are as it was compiled", param_hint=option
            )
        chosen = {} if backend is None else {"backend": backend}
        return cast("QEFFAutoModelForSeq2SeqLM", models.load(name, TEXT2TEXT_GENERATION.name, None, **chosen))
    model = cast("QEFFAutoModelForSeq2SeqLM", models.load(name, TEXT2TEXT_GENERATION.name, None))
    model.compile(backend=backend, **cast("dict[str, Any]", given))
    return model


def _how(num_beams: int | None, max_new_tokens: int | None, prefix: str | None, split: bool) -> Mapping[str, Any]:
    named = {"num_beams": num_beams, "max_new_tokens": max_new_tokens, "prefix": prefix}
    found: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    return {**found, "overlong": "split" if split else "error"}


def _print(texts: Sequence[str], answers: Sequence[str], as_json: bool) -> None:
    for text, answer in zip(texts, answers, strict=True):
        print(json.dumps({"source": text, "text": answer}, ensure_ascii=False) if as_json else answer)
