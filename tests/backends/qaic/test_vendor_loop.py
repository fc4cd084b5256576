"""A program that keeps state under ``QAICInferenceSession``, driven as the vendor's clients drive it.

They skip the buffers of state once, set the logits' buffer anew at each change of phase, and pass whatever else a run
needs; contract for generation, §4.1.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from QEfficient.backends.qaic import QaicBackend
from QEfficient.errors import DeviceError, InputError
from QEfficient.generation.cloud_infer import QAICInferenceSession
from QEfficient.records import MODEL, Program, Target
from tests import stateful_graphs as graphs
from tests.backends.state_conformance import text
from tests.sdk import FakeSdk
from tests.stateful_graphs import FORMS, Form

STEPS = 6


def compiled(backend: QaicBackend, folder: Path, form: Form, **options: Any) -> Program:
    (folder / "program").mkdir()
    model, target = graphs.make(folder / "graph", form), Target("qaic", "fp16", 4)
    parsed = backend.parse_options(options)
    return backend.compile({MODEL: model}, {MODEL: form.shapes}, target, parsed, folder / "program")


def state_names(session: QAICInferenceSession) -> list[str]:
    names = [*session.input_names, *session.output_names]
    return [name for name in names if name.startswith("past_") or name.endswith("_RetainedState")]


def logits_of(rows: int, kept: int = 1) -> dict[str, np.ndarray]:
    return {"logits": np.zeros((rows, kept, graphs.VOCABULARY), np.float32)}


def padded(ids: Sequence[int], chunk: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and positions, padded on the right to whole chunks."""
    length = -(-len(ids) // chunk) * chunk
    both = np.zeros((1, length), np.int64), np.full((1, length), -1)
    both[0][0, : len(ids)], both[1][0, : len(ids)] = ids, np.arange(len(ids))
    return both


def vendor_loop(session: QAICInferenceSession, form: Form, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Greedy tokens of as many prompts as the program has rows; prompts one by one, then all rows together."""
    keep = {"num_logits_to_keep": np.zeros((form.kept, 1))} if form.kept > 1 else {}  # float64, as it is there
    session.set_buffers(logits_of(1, form.kept))
    tokens = []
    for slot, prompt in enumerate(prompts):
        ids, places = padded(prompt, form.chunk)
        for start in range(0, ids.shape[1], form.chunk):
            part = slice(start, start + form.chunk)
            chunk = {"input_ids": ids[:, part], "position_ids": places[:, part], "batch_index": np.array([[slot]])}
            outputs = session.run({**chunk, **keep})
        tokens.append([int(outputs["logits"][0, -1].argmax())])
    rows = len(prompts)
    session.set_buffers(logits_of(rows, form.kept))
    steps = {"batch_index": np.arange(rows)[:, None], **keep}
    for step in range(STEPS - 1):
        ids = np.zeros((rows, form.kept), np.int64)  # where a row takes several tokens, it is padded on the left
        places = np.full((rows, form.kept), -1)
        ids[:, -1] = [row[-1] for row in tokens]
        places[:, -1] = [len(prompt) + step for prompt in prompts]
        outputs = session.run({"input_ids": ids, "position_ids": places, **steps})
        for row, logits in zip(tokens, outputs["logits"][:, -1], strict=True):
            row.append(int(logits.argmax()))
        assert set(outputs) == {"logits"}
    return tokens


def greedy(form: Form, prompt: Sequence[int]) -> list[int]:
    ids = list(prompt)
    for _ in range(STEPS):
        ids.append(int(graphs.reference(form, ids)[-1].argmax()))
    return ids[len(prompt) :]


PROMPTS = [text(13), text(3, 1), text(8, 2)]


@pytest.mark.parametrize("generation", ["new", "old"])
@pytest.mark.parametrize("name", ["slots", "window", "kept"])
def test_the_loop_gives_the_tokens(
    name: str, generation: str, sdk: FakeSdk, backend: QaicBackend, tmp_path: Path
) -> None:
    sdk.set(in_place=generation == "new")
    form = FORMS[name]
    session = QAICInferenceSession(compiled(backend, tmp_path, form).path / "qpc")
    session.skip_buffers(state_names(session))
    assert vendor_loop(session, form, PROMPTS) == [greedy(form, prompt) for prompt in PROMPTS]
    # a second batch, in the slots of the first
    assert vendor_loop(session, form, PROMPTS[::-1]) == [greedy(form, prompt) for prompt in PROMPTS[::-1]]


@pytest.fixture
def session(backend: QaicBackend, tmp_path: Path) -> QAICInferenceSession:
    session = QAICInferenceSession(compiled(backend, tmp_path, FORMS["slots"]).path / "qpc")
    session.set_buffers({name: np.array([]) for name in state_names(session)})  # float64, whatever the state is
    return session


def test_empty_arrays_skip_as_well(session: QAICInferenceSession) -> None:
    assert vendor_loop(session, FORMS["slots"], PROMPTS) == [greedy(FORMS["slots"], prompt) for prompt in PROMPTS]


def step(slots: Sequence[int], place: int) -> dict[str, np.ndarray]:
    rows = np.array(slots)[:, None]
    return {"input_ids": np.full_like(rows, 7), "position_ids": np.full_like(rows, place), "batch_index": rows}


def test_a_logits_buffer_of_the_other_phase(session: QAICInferenceSession) -> None:
    session.set_buffers(logits_of(1))
    with pytest.raises(InputError, match=r"(?s)\(1, 1, 61\).*each buffer"):
        session.run(step([0, 1, 2], 0))
    session.set_buffers(logits_of(3))
    assert np.isfinite(session.run(step([0, 1, 2], 0))["logits"]).all()


def test_state_can_be_passed_and_fetched(session: QAICInferenceSession) -> None:
    """From one slot to another, whole arrays at a time."""
    session.run(step([0, 1, 2], 0))
    shapes = {name: dims for name, dims in zip(session.binding_index_map, session.allowed_shapes[0], strict=True)}
    outputs = [name for name in session.output_names if name.endswith("_RetainedState")]
    buffers = {name: np.zeros(shapes[name][1], np.float16) for name in outputs}
    found = session.run({**step([-1, -1, -1], -1), **buffers})
    assert set(found) == {"logits", *outputs}
    state = {name.removesuffix("_RetainedState"): array for name, array in found.items() if name in outputs}
    for array in state.values():
        array[3] = array[0]
    session.skip_buffers(outputs)
    session.run({**step([-1, -1, -1], -1), **state})
    session.skip_buffers(list(state))
    logits = session.run(step([3, 0, -1], 1))["logits"]
    assert np.array_equal(logits[0], logits[1])
    assert abs(logits[0, 0] - graphs.reference(FORMS["slots"], [7, 7])[1]).max() < 5e-3


def test_state_lasts_as_long_as_an_activation(session: QAICInferenceSession, sdk: FakeSdk) -> None:
    session.run(step([0, 1, 2], 0))
    assert np.isfinite(session.run(step([0, 1, 2], 1))["logits"]).all()
    session.deactivate()
    session.activate()
    assert np.isnan(session.run(step([0, 1, 2], 1))["logits"]).all()


def test_a_failed_run_loses_it(session: QAICInferenceSession, sdk: FakeSdk) -> None:
    session.run(step([0, 1, 2], 0))
    sdk.set(status={"waitForCompletion": "QS_TIMEDOUT"})
    with pytest.raises(DeviceError, match="QS_TIMEDOUT"):
        session.run(step([0, 1, 2], 1))
    sdk.set(status={})
    assert np.isnan(session.run(step([0, 1, 2], 1))["logits"]).all()


def test_only_state_can_be_skipped(session: QAICInferenceSession) -> None:
    for name in ("input_ids", "logits"):
        with pytest.raises(InputError, match=r"(?s)needs the buffer.*past_key"):
            session.skip_buffers([name])
    with pytest.raises(InputError, match="float64"):
        session.set_buffers({"input_ids": np.ones((3, 1))})


def test_state_that_does_not_say_that_it_may_be_skipped(
    backend: QaicBackend, sdk: FakeSdk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether programs with one shape do is not documented, so it is the card that decides."""
    sdk.set(partial_state=False)
    session = QAICInferenceSession(compiled(backend, tmp_path, FORMS["slots"]).path / "qpc")
    with caplog.at_level(logging.WARNING):
        session.skip_buffers(["past_key.0"])
    assert "past_key.0" in caplog.text
    with pytest.raises(DeviceError, match="QS_ERROR"):
        session.run(step([0, 1, 2], 0))


@pytest.mark.parametrize("number", [8, 9], ids=["int8", "unknown"])
def test_state_in_mxint8(backend: QaicBackend, sdk: FakeSdk, tmp_path: Path, number: int) -> None:
    sdk.set(mxint8_type=number)
    session = QAICInferenceSession(compiled(backend, tmp_path, FORMS["slots"], mxint8_kv_cache=True).path / "qpc")
    session.skip_buffers(state_names(session))
    assert np.isfinite(session.run(step([0, 1, 2], 0))["logits"]).all()
    if number == 9:
        with pytest.raises(InputError, match="mxint8_kv_cache"):
            session.set_buffers({"past_key.0": np.ones(4, np.int8)})
