"""State as a card keeps it: the common suite in fp16 and in MXINT8, and what is the emulator's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from QEfficient.backends.base import Backend, Retaining
from QEfficient.backends.card_options import MXINT8
from QEfficient.backends.state_session import StateSession
from QEfficient.generation.session_decoder import SessionDecoder
from QEfficient.numerics.emulator import EmulatorBackend
from QEfficient.numerics.formats import mxint8
from QEfficient.records import MODEL, CompileOptions, Program, Target
from tests import stateful_graphs as graphs
from tests.backends.state_conformance import StateConformance, feed, text
from tests.stateful_graphs import FORMS, Form

BLOCKS = CompileOptions(flags={MXINT8: True})


class TestHalfState(StateConformance):
    tolerance = 4e-3
    state_dtype = "float16"

    @pytest.fixture
    def backend(self) -> Backend:
        return EmulatorBackend()

    def poison(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(StateSession, "initial", np.nan)


class TestBlockState(TestHalfState):
    tolerance = 4e-2

    def options(self, form: Form) -> CompileOptions:
        return BLOCKS

    def bytes_of(self, shapes: Sequence[tuple[int, ...]]) -> int:
        return sum(int(np.prod(shape)) // 32 * 33 for shape in shapes)


def compiled(folder: Path, form: Form, options: CompileOptions = CompileOptions()) -> Program:  # noqa: B008
    folder.mkdir()
    model = graphs.make(folder / "graph", form)
    (folder / "program").mkdir()
    target = Target("emulator", "fp16")
    return EmulatorBackend().compile({MODEL: model}, {MODEL: form.shapes}, target, options, folder / "program")


@pytest.mark.parametrize("form", ["slots", "plain"])
def test_mxint8_state_is_of_that_format_and_fp16_is_not(tmp_path: Path, form: str) -> None:
    found = []
    for name, options in (("half", CompileOptions()), ("blocks", BLOCKS)):
        with SessionDecoder(
            EmulatorBackend().open(compiled(tmp_path / name, FORMS[form], options)), FORMS[form].facts
        ) as decoder:
            feed(decoder, 1, text(9))
            found.append({part: array.astype(np.float32) for part, array in decoder.read(1).items()})
    half, blocks = found
    for name, array in half.items():
        assert np.array_equal(mxint8(blocks[name], -1), blocks[name])
        assert not np.array_equal(mxint8(array, -1), array)
        if name.endswith("0"):  # the first layer's do not depend on what was read back
            expected = mxint8(array[:, :9], -1)
            assert np.array_equal(blocks[name][:, :9], expected)


def test_what_is_written_into_mxint8_state_is_rounded(tmp_path: Path) -> None:
    with EmulatorBackend().open(compiled(tmp_path / "blocks", FORMS["slots"], BLOCKS)) as session:
        assert isinstance(session, Retaining)
        random = np.random.default_rng(0)
        state = {name: random.standard_normal(a.shape).astype(a.dtype) for name, a in session.read(0).items()}
        session.write(2, state)
        for name, array in session.read(2).items():
            assert np.array_equal(array, mxint8(state[name].astype(np.float32), -1).astype(np.float16))
            assert not session.read(1)[name].any()


def test_state_is_written_in_place_and_rounded_by_the_graph(tmp_path: Path) -> None:
    program = compiled(tmp_path / "half", FORMS["slots"])
    assert len(program.manifest.graph.in_place) == 2 * graphs.LAYERS
    with SessionDecoder(EmulatorBackend().open(program), FORMS["slots"].facts) as decoder:
        feed(decoder, 0, text(9))
        for buffer in decoder._session._buffers.values():  # type: ignore[attr-defined]
            assert np.array_equal(buffer, buffer.astype(np.float16))
            assert buffer.any()


def test_a_scatter_in_fp32_leaves_state_in_fp16(tmp_path: Path) -> None:
    """A node-precision file may keep nodes around a cache in fp32; what is kept between runs is fp16 all the same."""
    nodes = [f"past_{part}.{n}_RetainedState" for part in ("key", "value") for n in range(graphs.LAYERS)]
    nodes += [
        f"{part}{n}{end}" for part in ("key", "value") for n in range(graphs.LAYERS) for end in ("", "_flat", "_split")
    ]
    file = tmp_path / "precision.yaml"
    file.write_text("FP32NodeInstanceNames: [" + ", ".join(f'"{name}"' for name in nodes) + "]\n")
    program = compiled(tmp_path / "half", FORMS["slots"], CompileOptions(files={"node_precision_info": file}))
    with SessionDecoder(EmulatorBackend().open(program), FORMS["slots"].facts) as decoder:
        ids = text(9)
        np.testing.assert_allclose(feed(decoder, 0, ids), graphs.reference(FORMS["slots"], ids)[-1], atol=4e-3)
        for buffer in decoder._session._buffers.values():  # type: ignore[attr-defined]
            assert np.array_equal(buffer, buffer.astype(np.float16)) and buffer.any()
