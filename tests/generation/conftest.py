"""Graphs and repos of tiny decoders, made once a session."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import transformers

from QEfficient.records import OnnxModel
from QEfficient.tasks.text_generation import DecoderForm
from tests.generation.decoder_repos import decoder_repo
from tests.generation.tiny_decoders import exported, tiny_decoder
from tests.generation.writers import SPREAD, Reference


@pytest.fixture(scope="session")
def graph_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., OnnxModel]:
    """The graph of a tiny decoder, by its type and form."""

    @cache
    def made(model_type: str, form: DecoderForm | None = None) -> OnnxModel:
        return exported(tiny_decoder(model_type), tmp_path_factory.mktemp(model_type) / "graph", form)

    return made


@pytest.fixture(scope="session")
def repo_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tiny decoder as a repo, by its type."""

    @cache
    def made(model_type: str) -> Path:
        return decoder_repo(tmp_path_factory.mktemp("repos") / model_type, model_type, spread=SPREAD)

    return made


@pytest.fixture(scope="session")
def reference_of(repo_of: Callable[[str], Path]) -> Callable[[str], Reference]:
    """What transformers writes with the weights of that repo."""

    @cache
    def made(model_type: str) -> Reference:
        return Reference.of(transformers.AutoModelForCausalLM.from_pretrained(repo_of(model_type)))

    return made


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache for all who compile these repos: each is exported once."""
    return tmp_path_factory.mktemp("tiny_home")
