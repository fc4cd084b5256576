"""``qefficient chat``: a conversation with a model, on a terminal or line by line from stdin."""

from __future__ import annotations

import contextlib
import re
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from QEfficient.cli import models, text_options
from QEfficient.cli.options import said_in_options
from QEfficient.errors import InputError
from QEfficient.progress import is_terminal
from QEfficient.tasks.catalogue import TEXT_GENERATION

if TYPE_CHECKING:
    from QEfficient.auto.causal_lm import QEFFAutoModelForCausalLM
    from QEfficient.generation.answer_stream import AnswerStream

System = Annotated[str | None, typer.Option(help="What the system message says, which every conversation begins with.")]
COMMANDS = {
    "/clear": "forgets the conversation, but for --system",
    "/exit": "leaves, as Ctrl-D does",
    "/help": "says this; Ctrl-C stops an answer",
}


def chat(
    model: models.Model,
    system: System = None,
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
) -> None:
    """Talk with a model. Each line is a message; /help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves."""
    keywords = text_options.keywords(locals())
    with said_in_options():
        loaded = text_options.load(model, TEXT_GENERATION, backend, {"compute": compute, "ctx_len": ctx_len})
    conversation = Conversation(loaded, system, keywords)
    for line in _lines():
        if line == "/exit":
            return
        if line == "/clear":
            conversation.clear()
        elif line == "/help":
            for name, what in COMMANDS.items():
                typer.echo(f"{name:8}{what}", err=True)
        elif re.fullmatch("/[a-z]+", line):  # a path, or a sentence that begins with one, is a message
            typer.echo(f"There is no {line}; the commands are {', '.join(COMMANDS)}.", err=True)
        else:
            conversation.answer(line)


class Conversation:
    """What was said so far, and the model that answers.

    Args:
        model: Compiled, or a saved program.
        system: What the system message says.
        keywords: How tokens are chosen.
    """

    def __init__(self, model: QEFFAutoModelForCausalLM, system: str | None, keywords: dict[str, Any]) -> None:
        self._model, self._keywords = model, keywords
        self._first = [] if system is None else [{"role": "system", "content": system}]
        self.clear()

    def clear(self) -> None:
        """Forgets all but the system message."""
        self.messages: list[dict[str, str]] = list(self._first)

    def answer(self, message: str) -> None:
        """Prints the answer to a message, piece by piece, and keeps both.

        Of an answer that Ctrl-C stopped, what was printed is kept. A message without an answer is forgotten: templates
        take turns.

        Raises:
            InputError: The conversation does not fit. On a terminal it is only said there.
        """
        asked = [*self.messages, {"role": "user", "content": message}]
        try:
            with said_in_options():
                stream = self._model.stream(asked, **self._keywords)
        except KeyboardInterrupt:  # the first answer also opens the program
            print(flush=True)
            return
        except InputError as error:
            if not is_terminal(sys.stdin):
                raise
            typer.echo(f"error: {error}\n/clear forgets the conversation.", err=True)
            return
        with _stopped_by_interrupt(stream):
            for piece in stream:
                print(piece, end="", flush=True)
        print(flush=True)
        if stream.text:
            self.messages = [*asked, {"role": "assistant", "content": stream.text}]
        if stream.reason == "length" and is_terminal(sys.stdin):
            typer.echo("(The answer ends here: its length is used up.)", err=True)


@contextlib.contextmanager
def _stopped_by_interrupt(stream: AnswerStream) -> Iterator[None]:
    """While it is entered, Ctrl-C ends the answer behind the step that it is in, and raises nothing."""

    def stop(number: int, frame: FrameType | None) -> None:
        stream.close()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        stream.close()


def _lines() -> Iterator[str]:
    """What is said, line by line, without empty ones: a person is prompted for it, a pipe is read."""
    if not is_terminal(sys.stdin):
        yield from (line for line in map(str.strip, sys.stdin) if line)
        return
    with contextlib.suppress(ImportError):  # not in Windows' Python
        import readline  # noqa: F401  # input() edits lines and goes back to earlier ones with it
    typer.echo(f"Commands: {', '.join(COMMANDS)}. Ctrl-C stops an answer, Ctrl-D leaves.", err=True)
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            print()
            return
        if line:
            yield line
