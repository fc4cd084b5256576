"""Drafted tokens on every backend: whatever is right or wrong among them, what is written is transformers'.

The model has layers that keep all positions and layers that keep a window as a ring, where a token that was drafted and
not chosen overwrites an older one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from QEfficient.backends.qaic import native
from QEfficient.backends.state_session import StateSession
from QEfficient.build import decoder_making
from QEfficient.generation import call
from QEfficient.generation.prompt_lookup import Draft
from tests.generation.decoder_repos import VOCAB
from tests.generation.engine_model import Foreteller
from tests.generation.writers import NEW, ROWS, SLOTS, Reference, check, compiled, prompts
from tests.sdk import make_sdk

pytestmark = pytest.mark.slow

TYPE, AHEAD = "gemma3_text", 3
EQUAL = [NEW] * 5
FP32 = {"gap": 1e-3, "atol": 1e-3}
FP16 = {"gap": 5e-2, "atol": 6e-2}  # as in test_writers.py


class OfPrompt:
    """Drafts what transformers writes behind one of the prompts, right for the most part."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._of: Foreteller | None = None

    def draft(self, ids: Sequence[int], most: int) -> Draft:
        if self._of is None:
            place = next(n for n, prompt in enumerate(prompts()) if list(ids[: len(prompt)]) == prompt)
            self._of = Foreteller([*prompts()[place], *self._reference.tokens[place]], 0.7)
        return self._of.draft(ids, most)


@pytest.fixture
def written(
    repo_of: Callable[[str], Path],
    reference_of: Callable[[str], Reference],
    tiny_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., tuple[list[int], Any]]]:
    """Compiles, lets the state begin as NaN, writes with drafts, and compares with transformers."""
    monkeypatch.setenv("QEFF_HOME", str(tiny_home))
    monkeypatch.setattr(call, "PromptLookup", lambda most, longest: OfPrompt(reference_of(TYPE)))

    def made(limits: dict[str, float], **keywords: Any) -> tuple[list[int], Any]:
        model = compiled(repo_of(TYPE), num_speculative_tokens=AHEAD, **keywords)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(StateSession, "initial", np.nan)
                equal = check(model, reference_of(TYPE), **limits)
                return equal, model.device_report()["work"]
        finally:
            model.close()

    yield made


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("slots", [True, False])
def test_the_host(backend: str, slots: bool, strict: bool, written: Any) -> None:
    equal, work = written(FP32, backend=backend, slots=slots, strict=strict, prefill_seq_len=7)
    assert equal == EQUAL
    assert 0 < work["accepted"] < work["drafted"] and work["decoded"] < 5 * (NEW - 1)


@pytest.mark.parametrize("generation", ["new", "old"])
@pytest.mark.parametrize("slots", [True, False])
def test_the_card(generation: str, slots: bool, written: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sdk = make_sdk(tmp_path / "sdk", generation=generation)
    monkeypatch.setenv("QEFF_QAIC_SDK", str(sdk.root))
    equal, work = written(FP16, backend="qaic", num_cores=4, slots=slots, prefill_seq_len=7)
    assert sum(equal) > 0.5 * sum(EQUAL)
    assert 0 < work["accepted"] < work["drafted"]
    runs = [(run["bytes_in"], run["bytes_out"]) for run in native._LOADED[sdk.root].qaicrt.traffic()]
    rows = SLOTS if slots else ROWS

    def moved(height: int, width: int, kept: int) -> tuple[int, int]:
        """Ids, positions, slots and what says how many logits are kept go in, and logits come out: no state."""
        return height * 8 * (2 * width + slots) + 8 * kept, height * 4 * VOCAB * kept

    one, many = moved(rows, 1, 1), moved(rows, 1 + AHEAD, 1 + AHEAD)
    assert set(runs) <= {one, many, moved(1 if slots else rows, 7, 1)}
    assert runs.count(many) > 3


def test_what_a_wrong_token_overwrote_would_be_missed(written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring of the window alone gives other logits behind drafts that were not chosen."""
    right = decoder_making.with_layers

    def window_alone(model: Any, facts: Any) -> Any:
        found, window = right(model, facts)
        return found, window - AHEAD

    monkeypatch.setattr(decoder_making, "with_layers", window_alone)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        written(FP32, backend="onnxruntime", prefill_seq_len=11)  # no other test's program
