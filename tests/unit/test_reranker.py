"""What a folder says of its scores, as CrossEncoder reads it; and activations in numpy, as torch computes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder

from QEfficient.inference.rerank import ACTIVATIONS, softmax
from QEfficient.sentence_repo import Scoring, check_reranker, read, read_scoring
from tests.reranker_repos import bert_reranker, update

TANH = "torch.nn.modules.activation.Tanh"
IDENTITY = "torch.nn.modules.linear.Identity"
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert_reranker(tmp_path_factory.mktemp("plain"))


@dataclass(frozen=True)
class Copy:
    """A reranker with other facts in its ``config.json``; the big files are links."""

    folder: Path

    @classmethod
    def of(cls, plain: Path, folder: Path, **config: Any) -> Copy:
        for path in plain.iterdir():
            (folder / path.name).symlink_to(path)
        for name in ("config.json", "tokenizer_config.json"):
            content = (plain / name).read_text()
            (folder / name).unlink()
            (folder / name).write_text(content)
        update(folder / "config.json", config)
        return cls(folder)


@pytest.mark.parametrize(
    ("config", "activation"),
    [
        ({}, None),
        ({"sentence_transformers": {"activation_fn": TANH}}, TANH),
        ({"sbert_ce_default_activation_function": IDENTITY}, IDENTITY),
        ({"sentence_transformers": {"activation_fn": TANH}, "sbert_ce_default_activation_function": IDENTITY}, TANH),
        ({"sentence_transformers": {"version": "5.0.0"}, "sbert_ce_default_activation_function": TANH}, TANH),
    ],
)
def test_the_activation_of_every_version(plain: Path, tmp_path: Path, config: Any, activation: str | None) -> None:
    folder = Copy.of(plain, tmp_path, **config).folder
    assert read_scoring(folder, None) == Scoring(activation)
    theirs = CrossEncoder(str(folder), device="cpu").activation_fn
    assert f"{type(theirs).__module__}.{type(theirs).__name__}" == (activation or "torch.nn.modules.activation.Sigmoid")
    check_reranker(folder, None)


def test_a_repo_of_version_6_and_its_own_words_come_first(plain: Path, tmp_path: Path) -> None:
    CrossEncoder(str(plain), activation_fn=torch.nn.Tanh(), prompts={"q": "find: "}).save_pretrained(str(tmp_path))
    repo = read(tmp_path)
    assert repo is not None
    assert repo.prompts == {"q": "find: "}
    assert read_scoring(tmp_path, repo) == Scoring(TANH)
    update(tmp_path / "config.json", {"sentence_transformers": {"activation_fn": IDENTITY}})
    assert read_scoring(tmp_path, repo) == Scoring(TANH)
    assert isinstance(CrossEncoder(str(tmp_path)).activation_fn, torch.nn.Tanh)
    check_reranker(tmp_path, repo)


@pytest.mark.parametrize("place", ["tokenizer_config.json", "chat_template.jinja"])
def test_a_chat_template_is_seen_where_cross_encoder_sees_it(plain: Path, tmp_path: Path, place: str) -> None:
    folder = Copy.of(plain, tmp_path).folder
    if place == "chat_template.jinja":
        (folder / place).write_text(TEMPLATE)
    else:
        update(folder / place, {"chat_template": TEMPLATE})
    assert read_scoring(folder, None).chat
    theirs = CrossEncoder(str(folder), device="cpu")
    assert "message" in theirs.modalities
    theirs.save_pretrained(str(tmp_path / "saved"))
    assert read_scoring(tmp_path / "saved", read(tmp_path / "saved")).chat


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("identity", torch.nn.Identity()),
        ("sigmoid", torch.nn.Sigmoid()),
        ("logsigmoid", torch.nn.LogSigmoid()),
        ("softplus", torch.nn.Softplus()),
        ("tanh", torch.nn.Tanh()),
        ("relu", torch.nn.ReLU()),
        ("silu", torch.nn.SiLU()),
    ],
)
def test_activations_are_torch_s(name: str, module: torch.nn.Module) -> None:
    edge = np.array([0, -0.0, 1e-8, 88.8, -88.8, 104, -104, 3e38, -3e38], np.float32)
    logits = np.concatenate([np.linspace(-30, 30, 6001, dtype=np.float32), edge])[:, None]
    want, got = module(torch.from_numpy(logits)).numpy(), ACTIVATIONS[name](logits)
    assert got.dtype == np.float32
    assert (np.abs(got - want) <= 1e-6 * np.maximum(1, np.abs(want))).all()
    assert (np.diff(got[:6001, 0]) >= 0).all() or name == "silu"  # the order of logits is the order of scores


def test_every_activation_is_tested() -> None:
    [mark] = test_activations_are_torch_s.pytestmark
    assert {name for name, _ in mark.args[1]} == set(ACTIVATIONS)


def test_softmax_is_torch_s() -> None:
    scores = np.random.default_rng(0).normal(0, 40, (200, 5)).astype(np.float32)
    assert np.abs(softmax(scores) - torch.softmax(torch.from_numpy(scores), 1).numpy()).max() <= 1e-6
    assert softmax(np.zeros((0, 3), np.float32)).shape == (0, 3)
