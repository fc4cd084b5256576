"""``compile(seq_len="auto", texts=…)``: buckets that the texts themselves ask for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from QEfficient import QEFFAutoModel
from QEfficient.diagnostics import buckets as auto
from QEfficient.errors import InputError, OptionError, UsageError
from QEfficient.runtime.suggest import suggest_buckets
from tests.sdk import make_sdk
from tests.tiny_repo import tiny_repo

LIMIT = 64
TEXTS = [*["a few words"] * 20, *["some more words than those few"] * 10, "word " * 30, "word " * 100]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def one_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(home))


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_repo(tmp_path_factory.mktemp("repo"), layers=1)


@pytest.fixture
def model(repo: Path) -> Iterator[QEFFAutoModel]:
    model = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    yield model
    model.close()


def shapes(model: QEFFAutoModel) -> list[tuple[int, int]]:
    return [(bucket["seq_len"], bucket["batch_size"]) for bucket in model.device_report()["buckets"]]


def compile_auto(model: QEFFAutoModel, **keywords: Any) -> None:
    model.compile(**{"backend": "onnxruntime", "seq_len": "auto", "texts": TEXTS, "verify": "off"} | keywords)


def test_the_buckets_are_the_least_cost_ones_and_any_text_just_works(model: QEFFAutoModel) -> None:
    compile_auto(model, strict=True)
    lengths = [min(LIMIT, n) for n in model._need_loaded().tokenizer.encode(TEXTS, max_length=LIMIT).rows.lengths]
    best = suggest_buckets(lengths, 5, cost=auto.host_cost, batch_sizes=auto.BATCHES, longest=LIMIT)
    assert shapes(model) == [(bucket.length, bucket.batch) for bucket in best]
    assert shapes(model)[-1][0] == LIMIT  # though hardly a text is so long
    with pytest.warns(UserWarning, match="1 of 32 texts"):
        assert model.encode(TEXTS).shape == (32, 32)
    work = model.device_report()["work"]
    assert work["rows"] == 32 and work["tokens"] == sum(lengths)
    assert work["positions"] <= 1.3 * work["tokens"]
    assert model.encode("word " * 45).shape == (32,)  # a length that no text had


def test_how_many_buckets_and_rows_can_be_chosen(model: QEFFAutoModel) -> None:
    compile_auto(model, buckets=2, batch_size=4)
    assert len(shapes(model)) == 2
    assert {batch for _, batch in shapes(model)} == {4}


@pytest.mark.parametrize("backend", ["onnxruntime", "qaic"])
def test_a_large_batch_has_as_many_buckets(
    model: QEFFAutoModel, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QEFF_QAIC_SDK", str(make_sdk(tmp_path / "sdk").root))
    compile_auto(model, texts=TEXTS * 8, buckets=3, batch_size=16, backend=backend)  # past 512 positions of the longest
    assert len(shapes(model)) == 3
    assert {rows for _, rows in shapes(model)} == {16}
    found = model.suggest_buckets(TEXTS * 8, 3, batch_size=16, backend=backend).buckets
    assert shapes(model) == [(bucket.length, bucket.batch) for bucket in found]


def test_texts_are_verified_on_too_and_the_same_ones_find_the_program_again(model: QEFFAutoModel) -> None:
    compile_auto(model, verify="on")
    program = model.program_path
    assert model._need_loaded().program.manifest.verify["rows"] > 32
    compile_auto(model, verify="on")
    assert model.program_path == program
    found = model.suggest_buckets(TEXTS, backend="onnxruntime")
    assert len({bucket.batch for bucket in found.buckets}) > 1
    model.compile(backend="onnxruntime", **found.compile_options)  # what was found, as keywords
    assert model.program_path == program
    assert len(model.suggest_buckets(TEXTS * 9, backend="onnxruntime").texts) == auto.VERIFIED


def test_each_length_may_have_rows_of_its_own_in_any_order(model: QEFFAutoModel) -> None:
    model.compile(backend="onnxruntime", seq_len=(64, 16), batch_size=np.array([2, 8]), verify="off")
    assert shapes(model) == [(16, 8), (64, 2)]
    options = []
    for rows in ([8, 2], 2):  # an objective is for the longest bucket
        model.compile(backend="onnxruntime", seq_len=[16, 64], batch_size=rows, objective="throughput", verify="off")
        manifest = model._need_loaded().program.manifest
        options.append((manifest.target, manifest.options))
    assert options[0] == options[1]
    for seq_len, rows in ((None, [1, 2]), (32, [1, 2]), ([32, 32], [1, 2]), ([16, 32], [1]), (None, [])):
        with pytest.raises(OptionError, match="not one for each length"):
            model.compile(seq_len=seq_len, batch_size=rows)
    with pytest.raises(OptionError, match="not one for each length"):
        compile_auto(model, batch_size=[1, 2])
    with pytest.raises(OptionError, match="batch_size is not a whole number of rows"):
        model.compile(seq_len=[16, 32], batch_size=[1, 0])
    with pytest.raises(OptionError, match="past the longest row"):
        model.compile(seq_len=[16, LIMIT + 1], batch_size=[1, 1])


def test_a_limit_of_the_caller_s_is_the_last_bucket(model: QEFFAutoModel) -> None:
    model.max_seq_length = 16
    compile_auto(model)
    assert shapes(model)[-1][0] == 16


@pytest.mark.parametrize("texts", [None, []])
def test_without_texts_there_is_nothing_to_find(model: QEFFAutoModel, texts: Any) -> None:
    with pytest.raises(OptionError, match="there are none"):
        compile_auto(model, texts=texts)
    with pytest.raises(UsageError, match="there are none|not a list of strings"):
        model.suggest_buckets(texts)


def test_what_makes_no_sense_is_refused(model: QEFFAutoModel) -> None:
    with pytest.raises(OptionError, match="not that they are to be found"):
        model.compile(seq_len=32, buckets=3)
    with pytest.raises(OptionError, match="whole number of buckets"):
        compile_auto(model, buckets=0)
    with pytest.raises(InputError, match="not a list of strings"):
        compile_auto(model, texts="one text")
    with pytest.raises(OptionError, match="seq_len"):
        model.compile(seq_len="automatic")  # type: ignore[arg-type]


def test_a_model_without_a_tokenizer_has_no_lengths(repo: Path) -> None:
    from transformers import AutoModel

    model = QEFFAutoModel(AutoModel.from_pretrained(repo), pooling="mean")
    with pytest.raises(UsageError, match="no tokenizer"):
        compile_auto(model)


def test_on_a_card_a_run_s_cost_is_predicted(model: QEFFAutoModel) -> None:
    cost = auto.card_cost(model._subject(), 14)
    assert cost is not None
    assert cost(32, 1) < cost(32, 8) < 8 * cost(32, 1)  # a batch costs more than a row, and less than its rows alone
    assert cost(32, 1) < cost(64, 1)
    assert auto.card_cost(model._subject(), 99) is None  # no card has so many cores


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 500), min_size=1, max_size=700))
def test_texts_to_verify_on_have_every_length(lengths: list[int]) -> None:
    texts = [f"{number}" for number in range(len(lengths))]
    chosen = auto._spread(texts, lengths)
    assert len(set(chosen)) == len(chosen) == min(len(texts), auto.VERIFIED)
    kept = [lengths[int(text)] for text in chosen]
    assert min(kept) == min(lengths) and max(kept) == max(lengths)
