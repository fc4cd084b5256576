"""Decoders as embedders: the last real token is a row's vector, wherever the caller's padding stands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from QEfficient import QEFFAutoModel
from QEfficient.errors import InputError
from tests.sdk import make_sdk
from tests.sweep.build import build
from tests.sweep.case import VOCAB, Case
from tests.sweep.decoders import BOTH, GPT2, LLAMA
from tests.sweep.roads import agreement

LENGTHS = (12, 1, 7, 24, 3)
LONG = 1000
CASES = {  # the other types are compared token by token in the sweep
    "llama": Case("llama", "LlamaModel", LLAMA | {"max_position_embeddings": LONG}, std=0.3),
    "qwen3": Case("qwen3", "Qwen3Model", BOTH | {"use_sliding_window": True}, std=0.3),
    "gpt2": Case("gpt2", "GPT2Model", GPT2, std=0.3),
}

Vectors = NDArray[np.float32]
Made = tuple[str, torch.nn.Module, QEFFAutoModel]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module", params=list(CASES))
def made(request: pytest.FixtureRequest, home: Path) -> Iterator[Made]:
    """HuggingFace's model, and ours with last-token pooling on the host."""
    case = CASES[request.param]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(home))
        ours = QEFFAutoModel(build(case), pooling="last_token")
        ours.compile(backend="onnxruntime", seq_len=[8, case.config.get("max_position_embeddings", 24)])
        yield request.param, build(case), ours
        ours.close()


def rows() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(5, VOCAB, (length,), generator=generator) for length in LENGTHS]


def batch(side: str, *, extra: int = 0) -> dict[str, torch.Tensor]:
    """All rows, padded to the longest and ``extra`` more."""
    width = max(LENGTHS) + extra
    ids, mask = torch.zeros(len(LENGTHS), width, dtype=torch.int64), torch.zeros(len(LENGTHS), width, dtype=torch.int64)
    for place, row in enumerate(rows()):
        where = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids[place, where], mask[place, where] = row, 1
    return {"input_ids": ids, "attention_mask": mask}


def alone(model: torch.nn.Module) -> Vectors:
    """The last state of each row by itself, by a plain call of HuggingFace's model."""
    with torch.no_grad():
        return np.concatenate([model(row[None]).last_hidden_state[:, -1].numpy() for row in rows()])


def assert_equal(want: Vectors, got: Vectors) -> None:
    cosine, difference = agreement(want, got)
    assert cosine >= 0.99999 and difference <= 1e-5


def test_padding_on_the_right_changes_nothing(made: Made) -> None:
    _, model, ours = made
    assert_equal(alone(model), ours.generate(batch("right"))["output"])
    assert_equal(alone(model), ours.generate(batch("right", extra=40))["output"])


def test_padding_on_the_left_changes_nothing_where_positions_are_relative(made: Made) -> None:
    name, model, ours = made
    got = ours.generate(batch("left"))["output"]
    if name != "gpt2":
        assert_equal(alone(model), got)
        return
    with torch.no_grad():  # GPT-2 counts padding too; we give what HuggingFace gives for the same arrays
        assert_equal(model(**batch("left")).last_hidden_state[:, -1].numpy(), got)
    assert agreement(alone(model), got)[0] < 0.99


def test_a_causal_model_does_not_see_what_follows(made: Made) -> None:
    _, _, ours = made
    ids = torch.cat(rows())[None, :24]
    halves = [ours.generate({"input_ids": ids[:, :length]})["output"] for length in (12, 24)]
    other = torch.cat([ids[:, :12], ids[:, 12:].flip(1)], dim=1)
    mask = (torch.arange(24) < 12).to(torch.int64)[None]
    assert_equal(halves[0], ours.generate({"input_ids": other, "attention_mask": mask})["output"])
    assert agreement(halves[0], halves[1])[0] < 0.99


def test_a_row_past_the_positions_is_refused_with_both_numbers(made: Made) -> None:
    _, model, ours = made
    config = model.config.to_dict()
    limit = config.get("max_position_embeddings", config.get("n_positions"))
    with pytest.raises(InputError, match=f"(?s){limit + 1}.*{limit}"):
        ours.generate({"input_ids": torch.ones(1, limit + 1, dtype=torch.int64)})


@pytest.mark.parametrize("made", ["llama"], indirect=True)
def test_long_rows_on_the_card(made: Made, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Angles of 1000 positions are not numbers that fp16 holds: computed in it, the cosine is 0.996."""
    monkeypatch.setenv("QEFF_HOME", str(home))  # the graph is there
    monkeypatch.setenv("QEFF_QAIC_SDK", str(make_sdk(tmp_path / "sdk").root))
    card = QEFFAutoModel(made[1], pooling="last_token")
    card.compile(backend="qaic", seq_len=LONG)
    ids = torch.randint(5, VOCAB, (2, LONG), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        want = made[1](ids).last_hidden_state[:, -1].numpy()
    cosine, difference = agreement(want, card.generate({"input_ids": ids})["output"])
    card.close()
    assert cosine >= 0.9998 and difference <= 0.01
