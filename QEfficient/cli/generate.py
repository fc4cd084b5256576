"""``qefficient generate``: what a model writes on from prompts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from QEfficient.cli import models, text_options
from QEfficient.cli.options import said_in_options
from QEfficient.progress import is_terminal
from QEfficient.tasks.catalogue import TEXT_GENERATION

Prompts = Annotated[
    list[str] | None,
    typer.Argument(metavar="PROMPT", help="Texts. Left out, and without --prompts: all of stdin is one."),
]
PromptsFile = Annotated[
    Path | None,
    typer.Option("--prompts", exists=True, dir_okay=False, help="A UTF-8 file with one prompt a line, in their place."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a line of JSON for each prompt, at the end.")]


def generate(
    model: models.Model,
    prompt: Prompts = None,
    prompts: PromptsFile = None,
    max_new_tokens: text_options.MaxNewTokens = None,
    temperature: text_options.Temperature = None,
    top_k: text_options.TopK = None,
    top_p: text_options.TopP = None,
    min_p: text_options.MinP = None,
    repetition_penalty: text_options.RepetitionPenalty = None,
    seed: text_options.Seed = None,
    greedy: text_options.Greedy = False,
    stop: text_options.Stop = None,
    json_schema: text_options.JsonSchema = None,
    ctx_len: text_options.CtxLen = None,
    backend: text_options.Backend = None,
    compute: text_options.Compute = None,
    as_json: AsJson = False,
) -> None:
    """Write on from prompts, without a chat template. Of one prompt only what is written is printed, as it comes."""
    keywords = text_options.keywords(locals())
    texts = texts_of(prompt, prompts, "--prompts", "PROMPT")
    with said_in_options():
        loaded = text_options.load(model, TEXT_GENERATION, backend, {"compute": compute, "ctx_len": ctx_len})
        if as_json:
            answers = loaded.generate(prompts=texts, stream=False, **keywords).generated_texts
            for text, answer in zip(texts, _flat(answers), strict=True):
                print(json.dumps({"prompt": text, "text": answer}, ensure_ascii=False))
        elif len(texts) == 1:
            with loaded.stream(texts[0], **keywords) as pieces:
                for piece in pieces:
                    print(piece, end="", flush=True)
            print()
        else:
            loaded.generate(prompts=texts, **keywords)


def texts_of(given: list[str] | None, file: Path | None, option: str, argument: str) -> list[str]:
    """The texts of a command: its arguments, else the lines of a file, else all of stdin as one.

    Args:
        given: The arguments.
        file: The file.
        option: The option that names the file.
        argument: What the arguments are called.
    """
    if given and file is not None:
        raise typer.BadParameter("texts are given as arguments too", param_hint=option)
    if given:
        return given
    if file is not None:
        return models.lines_of(file, option)
    if is_terminal(sys.stdin):
        raise typer.BadParameter(
            f"there is none: as an argument, in a file ({option}) or on stdin", param_hint=argument
        )
    try:
        text = sys.stdin.read().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"stdin is not UTF-8: {error}", param_hint=argument) from error
    if not text:
        raise typer.BadParameter("stdin is empty", param_hint=argument)
    return [text]


def _flat(answers: list[str] | list[list[str]]) -> list[str]:
    """The plain form gives a list for each batch."""
    return [text for each in answers for text in ([each] if isinstance(each, str) else each)]
