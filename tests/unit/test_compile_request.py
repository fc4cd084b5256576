"""A request to compile is its own key: every field of it, and of what it holds, counts, or says why it does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from QEfficient.backends import registry
from QEfficient.build.request import NOT_IN_KEY, CompileRequest
from QEfficient.cache import content_key
from QEfficient.records import CompileOptions, OnnxModel, Shape, TensorSpec, TextFacts


@pytest.fixture
def request_(tmp_path: Path) -> CompileRequest:
    """One with something in every field."""
    for name in ("nodes.yaml", "other.yaml", "model.onnx", "other.onnx"):
        (tmp_path / name).write_text(name)
    spec = TensorSpec("input_ids", "int64", ("batch_size", "seq_len"))
    return CompileRequest(
        backend=registry.get("onnxruntime"),
        reason="asked for",
        compute="fp32",
        devices=1,
        text=TextFacts("tokenizer.json", 64, prompts={"query": "q: "}, tasks={"query": "a"}, activation="x"),
        texts=("a text",),
        limits={"min_cosine": 0.9},
        cores=14,
        batch=2,
        lengths=(32, 64),
        keywords={"mos": 1},
        objective="latency",
        most_buckets=3,
        precision_file=None,
        onnx_path=tmp_path / "model.onnx",
        buckets=(Shape(32),),
        options=CompileOptions({"mos": 1}, {"node_precision_info": tmp_path / "nodes.yaml"}, ("-x",)),
        graph=OnnxModel(tmp_path / "model.onnx", (spec,), (spec,), "digest"),
    )


def other(value: Any, folder: Path) -> Iterator[Any]:
    """Values that differ from this one in one place each."""
    if value is None:
        yield "something"
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield value + 1
    elif isinstance(value, str):
        yield value + " and more"
    elif isinstance(value, Path):
        yield folder / f"other{value.suffix}"
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for each in dataclasses.fields(value):
            if (type(value), each.name) not in NOT_IN_KEY:
                for changed in other(getattr(value, each.name), folder):
                    yield dataclasses.replace(value, **{each.name: changed})
    elif isinstance(value, Mapping):
        yield {**value, "one more": 1}
        for name, item in value.items():
            yield from ({**value, name: changed} for changed in other(item, folder))
    elif isinstance(value, tuple):
        yield (*value, *value[:1]) if value else ("one",)
        for place, item in enumerate(value):
            yield from ((*value[:place], changed, *value[place + 1 :]) for changed in other(item, folder))
    else:  # a backend
        yield registry.get("openvino")


def test_every_field_and_what_it_holds_moves_the_key(request_: CompileRequest, tmp_path: Path) -> None:
    before = content_key(request_.ingredients())
    assert content_key(dataclasses.replace(request_).ingredients()) == before
    for each in dataclasses.fields(CompileRequest):
        changes = list(other(getattr(request_, each.name), tmp_path))
        assert changes, each.name
        for changed in changes:
            made = dataclasses.replace(request_, **{each.name: changed})
            moved = content_key(made.ingredients()) != before
            assert moved is ((CompileRequest, each.name) not in NOT_IN_KEY), (each.name, changed)


def test_what_is_left_out_of_the_key_is_a_field_and_has_its_reason() -> None:
    for (kind, name), reason in NOT_IN_KEY.items():
        assert name in {each.name for each in dataclasses.fields(kind)}
        assert len(reason.split()) > 4


def test_a_file_counts_by_its_content(request_: CompileRequest, tmp_path: Path) -> None:
    before = content_key(request_.ingredients())
    (tmp_path / "same.yaml").write_text("nodes.yaml")
    files = {"node_precision_info": tmp_path / "same.yaml"}
    same = dataclasses.replace(request_, options=dataclasses.replace(request_.options, files=files))
    assert content_key(same.ingredients()) == before
    (tmp_path / "nodes.yaml").write_text("changed")
    assert content_key(request_.ingredients()) != before


def test_the_version_of_a_backend_counts(request_: CompileRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content_key(request_.ingredients())
    monkeypatch.setattr(type(request_.backend), "version", lambda self: "another")
    assert content_key(request_.ingredients()) != before
