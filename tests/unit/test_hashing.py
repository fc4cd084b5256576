"""How often a compile reads weights only to hash them, and that files which change meanwhile are noticed."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from QEfficient import QEFFAutoModel
from QEfficient.build import graph_stage
from QEfficient.cache import Cache, read_envelope
from QEfficient.errors import CacheError
from QEfficient.records import OnnxModel
from QEfficient.source import identity
from tests.tiny_models import tiny
from tests.tiny_repo import tiny_repo

pytestmark = pytest.mark.own_exports

Reads = Counter[str]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Digest → how often a file of this content was read for it."""
    found: Reads = Counter()
    plain = hashlib.file_digest

    def counted(file: Any, digest: Any) -> Any:
        result = plain(file, digest)
        found[result.hexdigest()] += 1
        return result

    monkeypatch.setattr(hashlib, "file_digest", counted)
    return found


def with_dense(folder: Path) -> Path:
    """A sentence-transformers repo whose head has weights too."""
    tiny_repo(folder, normalize=False)
    modules = json.loads((folder / "modules.json").read_text())
    dense = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    (folder / "modules.json").write_text(json.dumps([*modules, dense]))
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "config.json").write_text(json.dumps({"in_features": 32, "out_features": 8}))
    weights = {"linear.weight": torch.rand(8, 32), "linear.bias": torch.rand(8)}
    save_file(weights, folder / "2_Dense" / "model.safetensors")
    return folder


def test_a_compile_reads_each_content_once_for_its_digest(tmp_path: Path, reads: Reads) -> None:
    folder = with_dense(tmp_path / "repo")
    model = QEFFAutoModel.from_pretrained(folder, pooling="auto")
    model.compile(seq_len=16)
    weights = [folder / "model.safetensors", folder / "2_Dense" / "model.safetensors"]
    entries = {entry.stage: entry.path for entry in Cache().entries()}
    assert set(entries) == {"onnx", "program"}
    for path in entries.values():
        weights.append(path / "model.onnx.data")
        assert read_envelope(path).files["model.onnx.data"].sha256 == sha256(path / "model.onnx.data")
    assert [reads[sha256(path)] for path in weights] == [1, 1, 1, 1]  # both entries hold the same file
    assert not [entry for entry, problem in Cache().verify() if problem]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_copy_is_read_again(tmp_path: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where files can't be linked, the program's weights are another file, and its digest is its own."""
    monkeypatch.setattr(os, "link", refuse_link)
    QEFFAutoModel.from_pretrained(tiny_repo(tmp_path / "repo")).compile(seq_len=16)
    data = next(entry.path for entry in Cache().entries() if entry.stage == "program") / "model.onnx.data"
    assert reads[sha256(data)] == 2


def refuse_link(src: object, dst: object, **more: object) -> None:
    raise OSError("no links here")


def test_a_module_in_memory_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    view = identity._bytes_view

    def counted(tensor: torch.Tensor) -> memoryview:
        found = view(tensor)
        sizes.append(len(found))
        return found

    monkeypatch.setattr(identity, "_bytes_view", counted)
    module = tiny("bert")
    QEFFAutoModel(module).compile(seq_len=16)
    tensors = [*module.parameters(), *module.buffers()]
    assert sum(sizes) == sum(tensor.nbytes for tensor in tensors)


def in_place(path: Path) -> None:
    with open(path, "r+b") as file:  # same size
        file.seek(-4, 2)
        file.write(b"\0\0\0\1")


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.replace(other, path)


@pytest.mark.parametrize("change", [in_place, replaced])
@pytest.mark.parametrize("name", ["model.safetensors", "2_Dense/model.safetensors"])
def test_weights_that_change_between_their_digest_and_the_export_are_not_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], name: str
) -> None:
    folder = with_dense(tmp_path / "repo")
    model = QEFFAutoModel.from_pretrained(folder, pooling="auto")

    def meanwhile(recipe: Any, workdir: Path) -> Any:
        change(folder / name)
        return OnnxModel(workdir / "model.onnx", (), (), "")

    monkeypatch.setattr(graph_stage, "_export", meanwhile)
    with pytest.raises(CacheError, match="changes while it is read") as caught:
        model.compile(seq_len=16)
    assert name in str(caught.value)
    assert not Cache().entries()


def test_weights_that_were_read_before_they_changed_are_not_kept_for_the_new_ones(tmp_path: Path) -> None:
    folder, inputs = tiny_repo(tmp_path / "repo"), {"input_ids": [[5, 6, 7]]}
    model = QEFFAutoModel.from_pretrained(folder, pooling="mean")
    model.generate(inputs, runtime_ai100=False)  # reads them
    weights = load_file(folder / "model.safetensors")
    changed = {name: tensor * 1.5 if "LayerNorm" in name else tensor for name, tensor in weights.items()}
    save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
    wanted = QEFFAutoModel.from_pretrained(folder, pooling="mean").generate(inputs, runtime_ai100=False)["output"]
    model.compile(seq_len=16)
    again = QEFFAutoModel.from_pretrained(folder, pooling="mean")
    again.compile(seq_len=16)
    for program in (model, again):
        assert np.abs(program.generate(inputs)["output"] - wanted).max() < 1e-5


def test_a_config_that_was_read_before_it_changed_makes_no_key(tmp_path: Path) -> None:
    folder = tiny_repo(tmp_path / "repo")
    model = QEFFAutoModel.from_pretrained(folder, pooling="cls")
    assert model.max_seq_length  # reads it
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"}))
    with pytest.raises(CacheError, match="changes while it is read") as caught:
        model.compile(seq_len=16)
    assert "config.json" in str(caught.value)
    assert not Cache().entries()
