"""OpenVINO's caches in blocks: how a slot's hold its positions, bf16, and versions that have no such operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from QEfficient.backends import openvino_graph, openvino_paged, paged
from QEfficient.backends.openvino import OpenVinoBackend
from QEfficient.backends.openvino_paged_state import OpenVinoPagedSession
from QEfficient.backends.openvino_state import OpenVinoStateSession
from QEfficient.generation.decoder import Chunk
from QEfficient.generation.session_decoder import SessionDecoder
from QEfficient.onnx_transforms.graph_file import describe
from QEfficient.records import MODEL, CompileOptions, Program, Target
from tests import cached_graphs
from tests import stateful_graphs as graphs
from tests.backends.state_conformance import feed, text

FORM = graphs.FORMS["slots"]


@given(positions=st.integers(1, 100), length=st.integers(0, 100))
def test_a_slot_in_blocks_holds_what_was_written(positions: int, length: int) -> None:
    length = min(length, positions)
    random = np.random.default_rng(positions)
    first, second = random.standard_normal((2, 3, positions, 4))
    held = np.full((2, paged.blocks_of(positions), 3, paged.BLOCK, 4), np.nan)
    for place, state in enumerate((first, second)):
        paged.write_blocks(held[place], state)
    paged.copy_blocks(held[0], held[1], length)
    assert paged.read_blocks(held[0], positions).tolist() == first.tolist()
    wanted = np.concatenate([first[:, :length], second[:, length:]], axis=1)
    assert paged.read_blocks(held[1], positions).tolist() == wanted.tolist()


@given(st.lists(st.floats(width=32), min_size=1))
def test_bf16_is_torchs(numbers: list[float]) -> None:
    array = np.array(numbers, np.float32)
    wanted = torch.from_numpy(array).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(paged.from_bf16(paged.as_bf16(array)), wanted)


def compiled(folder: Path, compute: str = "fp32") -> Program:
    (folder / "program").mkdir(parents=True)
    model = describe(cached_graphs.make(folder / "graph", FORM).path)
    target, options = Target("openvino", compute), CompileOptions()
    return OpenVinoBackend().compile({MODEL: model}, {MODEL: FORM.shapes}, target, options, folder / "program")


@pytest.mark.skipif(openvino_graph.missing("bf16") is not None, reason="this CPU has no bf16")
def test_caches_in_bf16(tmp_path: Path) -> None:
    """They take half the memory, and are read and written in float32."""
    program, ids = compiled(tmp_path, "bf16"), text(14)
    session: Any = OpenVinoBackend().open(program)
    with SessionDecoder(session, FORM.facts) as decoder:
        assert isinstance(session, OpenVinoPagedSession)
        wanted = graphs.reference(FORM, ids)
        found = feed(decoder, 1, ids)
        assert 1e-5 < np.abs(found - wanted[-1]).max() < 0.05 * np.abs(wanted[-1]).max()
        state = decoder.read(1)
        assert {array.dtype.name for array in state.values()} == {"float32"}
        numbers = sum(int(np.prod(spec.shape)) for spec in session.states)
        assert decoder.bytes_held == session.report()["bytes_held"] == 2 * numbers
        decoder.write(3, state)
        assert all(decoder.read(3)[name].tobytes() == array.tobytes() for name, array in state.items())
        rows = decoder.decode([Chunk(3, [5], 14), Chunk(1, [5], 14)])
        np.testing.assert_array_equal(rows[0], rows[1])


def test_a_version_without_the_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs the graph with slots, also of a program that was compiled with another version."""
    program, ids = compiled(tmp_path / "with"), text(9)
    assert program.paged_path is not None
    monkeypatch.setattr(openvino_paged, "is_there", lambda: False)
    assert compiled(tmp_path / "without").paged_path is None
    with SessionDecoder(OpenVinoBackend().open(program), FORM.facts) as decoder:
        assert type(decoder._session) is OpenVinoStateSession
        np.testing.assert_allclose(feed(decoder, 2, ids), graphs.reference(FORM, ids)[-1], atol=1e-5)


def test_a_version_with_another_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program, ids = compiled(tmp_path / "with"), text(9)
    monkeypatch.setattr(openvino_paged, "_NO_FLOAT", np.zeros(0, np.float64))  # its inputs are of other kinds
    with SessionDecoder(OpenVinoBackend().open(program), FORM.facts) as decoder:
        assert type(decoder._session) is OpenVinoStateSession
        np.testing.assert_allclose(feed(decoder, 2, ids), graphs.reference(FORM, ids)[-1], atol=1e-5)
    assert "does not run model.openvino_paged.onnx" in caplog.text
    assert compiled(tmp_path / "without").paged_path is None
    assert "does not load model.openvino_paged.onnx" in caplog.text
