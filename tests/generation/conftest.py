"""Graphs of tiny decoders, exported once a session."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from QEfficient.records import OnnxModel
from QEfficient.tasks.text_generation import DecoderForm
from tests.generation.tiny_decoders import exported, tiny_decoder


@pytest.fixture(scope="session")
def graph_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., OnnxModel]:
    """The graph of a tiny decoder, by its type and form."""

    @cache
    def made(model_type: str, form: DecoderForm | None = None) -> OnnxModel:
        return exported(tiny_decoder(model_type), tmp_path_factory.mktemp(model_type) / "graph", form)

    return made
