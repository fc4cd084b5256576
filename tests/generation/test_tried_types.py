"""A type that no rule names is tried as a decoder of the usual kind: it writes HuggingFace's tokens, or is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers.models.arcee.modeling_arcee import ArceeAttention

from QEfficient.architectures import find, writers
from QEfficient.build import decoder_graph
from QEfficient.build.decoder_caches import caches_of
from QEfficient.errors import NotYetSupportedError, NumericsError, QEfficientError
from QEfficient.records import OnnxModel
from QEfficient.tasks.text_generation import DecoderForm
from tests.generation.test_graph_tokens import NEW, prompt, written
from tests.generation.tiny_decoders import CONFIGS, WINDOW, Bare, greedy, recipe_for, tiny_decoder

SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "vocab_size": 97}


def test_the_types_that_write_text_are_those_that_the_tests_build() -> None:
    assert writers() == tuple(sorted(CONFIGS))
    assert len(writers()) >= 20


def tried(model: Any, folder: Path, verify: str = "on") -> OnnxModel:
    recipe = replace(recipe_for(model), verify=verify)
    assert recipe.architecture.caches is None
    return decoder_graph.export_decoder(recipe, DecoderForm(), folder / "graph")


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [
        ("arcee", {}),
        (
            "ministral",
            {"head_dim": 8, "sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
        ),
    ],
)
def test_one_that_fits_writes_the_tokens_of_transformers(
    model_type: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    model, ids = tiny_decoder(model_type, **changes), prompt(37)
    assert written(Bare(tried(model, tmp_path), 3), 1, ids, 7) == greedy(model, ids, NEW)


def refusal(recipe: Any) -> str:
    with pytest.raises(NotYetSupportedError) as caught:
        caches_of(recipe)
    assert f"model_type={recipe.architecture.model_type!r}" in str(caught.value)
    return str(caught.value)


def test_one_that_differs_is_refused_by_name_whatever_verify_says(tmp_path: Path) -> None:
    """BERT's tokens see what stands behind them, unless it is set up as a decoder."""
    for verify in ("on", "off"):
        with pytest.raises(NotYetSupportedError, match="'bert' can't write text: they were tried .* and differ"):
            tried(tiny_decoder("bert"), tmp_path / verify, verify)


def test_a_window_that_only_its_own_code_knows_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of any length is compared on 1,200 tokens: this one's attention forgets what is 500 tokens away."""
    right = ArceeAttention.forward

    def forgetful(self: Any, hidden_states: Any, attention_mask: Any, cache: Any = None, **others: Any) -> Any:
        if cache is None:
            attention_mask = attention_mask + torch.ones_like(attention_mask).tril(-500) * -30000.0
        return right(self, hidden_states, attention_mask=attention_mask, cache=cache, **others)

    monkeypatch.setattr(ArceeAttention, "forward", forgetful)
    with pytest.raises(NotYetSupportedError, match="model_type='arcee'.* at position"):
        tried(tiny_decoder("arcee", max_position_embeddings=2048, num_hidden_layers=1), tmp_path)


def test_one_that_takes_no_cache_is_refused(tmp_path: Path) -> None:
    config = {"vocab_size": 97, "n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 96}
    with pytest.raises(NotYetSupportedError, match="model_type='openai-gpt': ") as caught:
        tried(tiny_decoder("openai-gpt", **config), tmp_path)
    assert caught.value.__cause__ is not None


def test_what_is_wrong_with_the_weights_is_no_matter_of_the_type(tmp_path: Path) -> None:
    model = tiny_decoder("arcee")
    model.lm_head.weight.data[0, 0] = float("nan")
    with pytest.raises(NumericsError):
        tried(model, tmp_path)


@pytest.mark.parametrize(
    ("model_type", "config", "why"),
    [
        ("mamba", {**SIZES, "state_size": 4}, "running state"),
        ("gpt_neo", {**SIZES, "num_layers": 1, "attention_types": [[["local"], 1]], "window_size": 256},
         "no rule reads attention_types=.*, window_size=256"),
        ("lfm2", {**SIZES, "num_hidden_layers": 2, "num_attention_heads": 4, "layer_types": ["conv", "full_attention"]},
         "kind 'conv'"),
    ],
)  # fmt: skip
def test_layers_that_keep_something_else_are_refused_at_once(model_type: str, config: dict[str, Any], why: str) -> None:
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(model_type, **config))
    assert re.search(why, refusal(recipe_for(model)))


@pytest.mark.parametrize(
    ("model_type", "key", "why"),
    [("t5", "is_encoder_decoder", "states of an encoder"), ("gemma3", "vision_config", "more than text")],
)
def test_what_reads_more_is_refused_before_its_weights_are_read(model_type: str, key: str, why: str) -> None:
    class Unread:
        name = "a model"

        def config(self) -> dict[str, Any]:
            return {"model_type": model_type, key: True}

        def module(self) -> Any:
            pytest.fail("the weights were read")

    assert why in refusal(replace(recipe_for(tiny_decoder("llama")), origin=Unread()))


def test_errors_of_known_types_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(decoder_graph, "decoder_module", broken)
    assert find("llama").caches
    with pytest.raises(ZeroDivisionError):
        decoder_graph.export_decoder(recipe_for(tiny_decoder("llama")), DecoderForm(), tmp_path / "graph")
    with pytest.raises(QEfficientError, match="ZeroDivisionError"):
        tried(tiny_decoder("arcee"), tmp_path)
