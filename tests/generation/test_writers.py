"""Each type from its folder to its tokens, on every backend: those of transformers, from caches full of NaN.

The prompts are of mixed lengths, some longer than any window, and more than there are rows. The tests of a kind stand
type by type, so that the third that runs on a day shares its exports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from QEfficient.architectures import find
from QEfficient.backends.qaic import native
from QEfficient.backends.state_session import StateSession
from tests.generation.decoder_repos import VOCAB
from tests.generation.tiny_decoders import FIRST, OTHERS
from tests.generation.writers import NEW, ROWS, SLOTS, Reference, check, compiled
from tests.sdk import FakeSdk, make_sdk

pytestmark = [pytest.mark.slow, pytest.mark.sweep]

Checked = Callable[..., list[int]]
EQUAL = [NEW] * 5
FP32 = {"gap": 1e-3, "atol": 1e-3}
FP16 = {
    "gap": 5e-2,
    "atol": 6e-2,
}  # twice what torch's own float16 differs by; two logits that are off may change places


@pytest.fixture
def checked(
    repo_of: Callable[[str], Path],
    reference_of: Callable[[str], Reference],
    tiny_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Checked]:
    """Compiles, lets the state begin as NaN, and compares."""
    monkeypatch.setenv("QEFF_HOME", str(tiny_home))

    def made(model_type: str, limits: dict[str, float], **keywords: Any) -> list[int]:
        model = compiled(repo_of(model_type), **keywords)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(StateSession, "initial", np.nan)
                return check(model, reference_of(model_type), **limits)
        finally:
            model.close()

    yield made


@pytest.mark.parametrize("model_type", FIRST)
def test_slots_in_onnxruntime(model_type: str, checked: Checked) -> None:
    for chunk in (1, 7, 32):
        assert checked(model_type, FP32, backend="onnxruntime", prefill_seq_len=chunk) == EQUAL, chunk


@pytest.mark.parametrize("model_type", FIRST)
def test_the_plain_form_in_onnxruntime(model_type: str, checked: Checked) -> None:
    for chunk in (1, 7, 32):
        assert checked(model_type, FP32, backend="onnxruntime", slots=False, prefill_seq_len=chunk) == EQUAL, chunk


@pytest.mark.parametrize("model_type", FIRST)
def test_openvino(model_type: str, checked: Checked) -> None:
    assert checked(model_type, FP32, backend="openvino", prefill_seq_len=7) == EQUAL
    assert checked(model_type, FP32, backend="openvino", slots=False, prefill_seq_len=32) == EQUAL


@pytest.mark.parametrize("model_type", FIRST)
def test_the_emulator(model_type: str, checked: Checked, record_property: Any) -> None:
    for slots, chunk in ((True, 7), (False, 32)):
        equal = checked(model_type, FP16, backend="emulator", slots=slots, prefill_seq_len=chunk)
        record_property("equal_tokens", equal)
        assert sum(equal) > 0.5 * sum(EQUAL)


# ------------------------------------------------------------------------------------------------ the card


def on_card(model_type: str, generation: str, checked: Checked, folder: Path, patch: pytest.MonkeyPatch) -> list[int]:
    """Tokens equal before the first difference, of both forms; what each run moved is asserted."""
    sdk = make_sdk(folder / "sdk", generation=generation)
    patch.setenv("QEFF_QAIC_SDK", str(sdk.root))
    equal = []
    for slots, chunk in ((True, 1), (True, 7), (False, 32)):
        equal += checked(model_type, FP16, backend="qaic", num_cores=4, slots=slots, prefill_seq_len=chunk)
        moved_no_state(sdk, slots, chunk)
    return equal


def moved_no_state(sdk: FakeSdk, slots: bool, chunk: int) -> None:
    """Ids, positions and slots go in, logits come out: of every run, decode steps and prompts alike."""
    runs = list(native._LOADED[sdk.root].qaicrt.traffic())

    def moved(rows: int, width: int) -> tuple[int, int]:
        return rows * 8 * (2 * width + slots), rows * 4 * VOCAB

    decode, prefill = moved(SLOTS if slots else ROWS, 1), moved(1 if slots else ROWS, chunk)
    found = [(run["bytes_in"], run["bytes_out"]) for run in runs]
    assert set(found) <= {decode, prefill}
    assert found.count(decode) >= NEW - 1
    assert min(run["state_bytes"] for run in runs) > 100 * decode[0]


@pytest.mark.parametrize("generation", ["new", "old"])
@pytest.mark.parametrize("model_type", FIRST)
def test_the_card(
    model_type: str,
    generation: str,
    checked: Checked,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Any,
) -> None:
    equal = on_card(model_type, generation, checked, tmp_path, monkeypatch)
    record_property("equal_tokens", equal)
    assert sum(equal) > 0.5 * 3 * sum(EQUAL)


# ------------------------------------------------------------------------------------------------ the other types


@pytest.mark.parametrize("model_type", OTHERS)
def test_every_road(
    model_type: str, checked: Checked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    """Both forms on onnxruntime, one of them on OpenVINO and on the card, whose arithmetic is the emulator's."""
    assert checked(model_type, FP32, backend="onnxruntime", prefill_seq_len=7) == EQUAL
    assert checked(model_type, FP32, backend="onnxruntime", slots=False, prefill_seq_len=32) == EQUAL
    assert checked(model_type, FP32, backend="openvino", prefill_seq_len=32) == EQUAL
    sdk, limits = make_sdk(tmp_path / "sdk"), {**FP16, "routed": find(model_type).routed}
    monkeypatch.setenv("QEFF_QAIC_SDK", str(sdk.root))
    equal = checked(model_type, limits, backend="qaic", num_cores=4, slots=False, prefill_seq_len=32)
    moved_no_state(sdk, False, 32)
    record_property("equal_tokens", equal)
    assert sum(equal) > 0.5 * sum(EQUAL)
