"""``qefficient translate`` and ``qefficient summarize``: texts through a model that reads one and writes another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from QEfficient.cli import models, text_options
from QEfficient.cli.generate import texts_of
from QEfficient.cli.options import said_in_options
from QEfficient.tasks.catalogue import TEXT2TEXT_GENERATION

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
    _write("translate", locals(), "source", "target")


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
    _write("summarize", locals(), "language")


def _write(method: str, given: Mapping[str, Any], *languages: str) -> None:
    """Prints what a model writes about each text.

    Args:
        method: Of the model's class.
        given: The command's own parameters.
        languages: Those of them that name one.
    """
    texts = texts_of(given["text"], given["texts"], "--texts", "TEXT")
    lengths = {name: given[name] for name in ("encoder_ctx_len", "ctx_len")}
    named = {name: given[name] for name in (*languages, "prefix", "num_beams", "max_new_tokens")}
    how = {name: value for name, value in named.items() if value is not None}
    with said_in_options():
        loaded = text_options.load(given["model"], TEXT2TEXT_GENERATION, given["backend"], lengths)
        answers = getattr(loaded, method)(texts, overlong="split" if given["split"] else "error", **how)
    for text, answer in zip(texts, answers, strict=True):
        print(json.dumps({"source": text, "text": answer}, ensure_ascii=False) if given["as_json"] else answer)
