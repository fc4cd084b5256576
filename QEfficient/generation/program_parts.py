"""What the calls of this room need of a loaded program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from QEfficient.generation.call import repo_settings
from QEfficient.generation.engine import Engine
from QEfficient.generation.tokenizing import CallersTokenizer, GenerationTokenizer, OwnTokenizer
from QEfficient.generation.two_sided import TwoSidedTokenizer
from QEfficient.records import DecoderFacts, Json, Program
from QEfficient.text.tokenizer import Tokenizer


class WritesText(Protocol):
    """A loaded program that writes text."""

    program: Program

    @property
    def facts(self) -> DecoderFacts:
        """What it is compiled for."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """Its own tokenizer."""
        ...

    @property
    def two_sides(self) -> TwoSidedTokenizer:
        """Of a program that reads sources: what reads them, and what writes about them."""
        ...

    @property
    def generation_config(self) -> dict[str, Json]:
        """The repo's ``generation_config.json``."""
        ...

    @property
    def config(self) -> dict[str, Json]:
        """The model's config."""
        ...

    def engine(self, devices: Sequence[int] | None = None) -> Engine:
        """The engine over the program on these devices, for any number of threads."""
        ...


def vocabulary(loaded: WritesText) -> int:
    """Tokens that the logits are of."""
    found = next(spec for spec in loaded.program.manifest.outputs if spec.name == "logits")
    return int(found.shape[-1])


def repo(loaded: WritesText) -> dict[str, Any]:
    """What the repo says about how text is written."""
    return repo_settings(loaded.generation_config, loaded.config)


def tokenizer_of(loaded: WritesText, callers: Any = None) -> GenerationTokenizer:
    """The caller's tokenizer where there is one, else the program's.

    Raises:
        LoadError: The program has none that works without transformers.
    """
    if callers is not None:
        return CallersTokenizer(callers)
    return loaded.two_sides if loaded.facts.has_encoder else OwnTokenizer(loaded.tokenizer)
