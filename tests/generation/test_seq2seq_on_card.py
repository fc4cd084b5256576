"""Models with an encoder on the fake card, the emulator and OpenVINO: transformers' tokens, as far as fp16 tells."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from QEfficient import QEFFAutoModelForSeq2SeqLM
from QEfficient.backends.qaic import native
from QEfficient.backends.retained import state_pairs
from QEfficient.backends.state_session import StateSession
from QEfficient.records import Shape
from tests.generation.tiny_seq2seq import CONFIGS, VOCAB, sources, theirs, tiny_seq2seq
from tests.sdk import FakeSdk, make_sdk

pytestmark = [pytest.mark.slow, pytest.mark.sweep]

LENGTHS, NEW, ROWS, SLOTS = (11, 1, 29, 5, 17), 12, 2, 3
FEW = 3
"""Sources that beams write about."""
SPREAD = 0.2
HOW = {"max_new_tokens": NEW, "min_new_tokens": NEW}
FP16, FP32, MXINT8 = 5e-2, 1e-3, 0.3
"""Logits that are nearer may change places."""
SIZES = {"encoder_ctx_len": 40, "ctx_len": 24}
FORMS = {True: {"full_batch_size": ROWS, "kv_cache_batch_size": SLOTS}, False: {"batch_size": ROWS}}


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(StateSession, "initial", np.nan)
    yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(home))


def compiled(own: Any, slots: bool, **keywords: Any) -> QEFFAutoModelForSeq2SeqLM:
    model = QEFFAutoModelForSeq2SeqLM(own, continuous_batching=slots)
    model.compile(**SIZES, **{**FORMS[slots], **keywords})
    return model


def written(model: QEFFAutoModelForSeq2SeqLM, own: Any, beams: int, bound: float, many: int = 1) -> int:
    """In how many sources the model, asked about all at once, writes what transformers writes about each alone.

    Args:
        model: As the repo says it writes.
        own: Likewise.
        beams: 1 is greedy search.
        bound: Of the scores: those of ``many`` beams, or of all tokens in greedy search where they are the same.
        many: Sequences of a source.
    """
    how = {"num_beams": beams, "num_return_sequences": many, "max_new_tokens": 8}
    scored = {"output_scores": True, "return_dict_in_generate": True}
    rows, equal = sources(LENGTHS[: FEW if beams > 1 else None]), 0
    found = model.generate(rows, **how, **scored)
    for place, row in enumerate(rows):
        wanted = theirs(own, row, **how, **scored)
        mine = slice(place * many, (place + 1) * many)
        same = np.array_equal(found.sequences[mine, : wanted.sequences.shape[1]], wanted.sequences.numpy())
        if beams > 1:
            np.testing.assert_allclose(found.sequences_scores[mine], wanted.sequences_scores.numpy(), atol=bound)
        elif same:
            scores = zip(found.scores, wanted.scores, strict=False)  # others may be longer
            for step, theirs_own in scores:
                np.testing.assert_allclose(step[place], theirs_own[0].numpy(), atol=bound)
        equal += same
    return equal


def exact(model: QEFFAutoModelForSeq2SeqLM, own: Any) -> None:
    """Greedy search, and all that four and six beams have found."""
    assert written(model, own, 1, 2e-4) == len(LENGTHS)
    for beams, many in ((4, 3), (6, 1)):
        assert written(model, own, beams, 1e-4, many) == FEW


def own_logits(own: Any, source: list[int], ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        given = {"input_ids": torch.tensor([source]), "decoder_input_ids": torch.tensor([ids])}
        return own(**given, use_cache=False).logits[0].numpy()


def equal_tokens(model: QEFFAutoModelForSeq2SeqLM, own: Any, gap: float) -> int:
    """How many tokens are transformers' before the first other one of each row, which must be as good."""
    settings = own.generation_config
    plain = {"forced_bos_token_id": None, "forced_eos_token_id": None, "no_repeat_ngram_size": 0, "bad_words_ids": None}
    for name, value in plain.items():
        setattr(settings, name, value)
    rows = sources(LENGTHS)
    how = {**HOW, **plain, "suppress_tokens": [own.config.pad_token_id, own.config.eos_token_id]}
    found, equal = model.generate(rows, **how), 0
    for row, source in enumerate(rows):
        wanted = theirs(own, source, **how)[0].tolist()
        logits = own_logits(own, source, wanted[:-1])
        for step, (mine, their) in enumerate(zip(found[row, 1:].tolist(), wanted[1:], strict=True)):
            if mine != their:
                assert logits[step][their] - logits[step][mine] < gap, (row, step)
                break
            equal += 1
    return equal


ALL = NEW * len(LENGTHS)


@pytest.mark.parametrize("slots", [True, False])
@pytest.mark.parametrize("model_type", CONFIGS)
def test_the_emulator(model_type: str, slots: bool) -> None:
    own = tiny_seq2seq(model_type, spread=SPREAD)
    model = compiled(own, slots, backend="emulator")
    assert equal_tokens(model, own, FP16) > 0.5 * ALL
    model.close()


@pytest.mark.parametrize("model_type", CONFIGS)
def test_openvino(model_type: str) -> None:
    own = tiny_seq2seq(model_type, spread=SPREAD)
    model = compiled(own, True, backend="openvino", kv_cache_batch_size=6)
    exact(model, own)
    assert equal_tokens(model, own, FP32) == ALL
    model.close()


@pytest.mark.parametrize("generation", ["new", "old"])
@pytest.mark.parametrize("model_type", CONFIGS)
def test_the_card(model_type: str, generation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sdk = make_sdk(tmp_path / "sdk", generation=generation)
    monkeypatch.setenv("QEFF_QAIC_SDK", str(sdk.root))
    for slots in (True, False):
        own = tiny_seq2seq(model_type, spread=SPREAD)
        model = compiled(own, slots, backend="qaic", num_cores=4)
        assert equal_tokens(model, own, FP16) > 0.5 * ALL
        moved_no_state(sdk, slots)
        entries = json.loads((Path(model.qpc_path or "").parent / "specializations.json").read_text())[
            "specializations"
        ]
        if generation == "new":
            assert [entry["name"] for entry in entries] == ["Encoder", "Decode"]
        model.close()


@pytest.mark.parametrize("backend", ["emulator", "qaic"])
@pytest.mark.parametrize("model_type", ["t5", "marian"])
def test_caches_in_mxint8(model_type: str, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Own and cross caches alike: the mask of the source, of one number a position, stays what it is."""
    monkeypatch.setenv("QEFF_QAIC_SDK", str(make_sdk(tmp_path / "sdk").root))
    own = tiny_seq2seq(model_type, spread=SPREAD)
    for slots in (True, False):
        model = compiled(own, slots, backend=backend, num_cores=4, mxint8_kv_cache=True)
        assert equal_tokens(model, own, MXINT8) > 0.5 * ALL
        assert numbers_kept(model) < model._need_loaded().cache_bytes < 1.2 * numbers_kept(model)
        model.close()


def numbers_kept(model: QEFFAutoModelForSeq2SeqLM) -> int:
    """Of all caches and their mask."""
    manifest = model._need_loaded().program.manifest
    sizes, states = Shape.largest(manifest.shapes), state_pairs(manifest.inputs, manifest.outputs)
    return sum(math.prod(spec.at(sizes)) for spec in manifest.inputs if spec.name in states)


@pytest.mark.parametrize("generation", ["new", "old"])
@pytest.mark.parametrize("model_type", CONFIGS)
def test_the_card_in_float32(model_type: str, generation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fp16 hides: with nothing rounded, entries, slots and copies of beams give transformers' own numbers."""
    monkeypatch.setenv("QEFF_QAIC_SDK", str(make_sdk(tmp_path / "sdk", generation=generation).root))
    own = tiny_seq2seq(model_type, spread=SPREAD)
    model = compiled(own, True, backend="qaic", num_cores=4, compute="fp32", verify="off", kv_cache_batch_size=6)
    exact(model, own)
    model.close()


def moved_no_state(sdk: FakeSdk, slots: bool) -> None:
    """Sources, ids, positions and slots go in, logits come out: of every run."""
    runs = list(native._LOADED[sdk.root].qaicrt.traffic())

    def moved(rows: int, read: int) -> tuple[int, int]:
        return rows * 8 * (read + 2 + slots), rows * 4 * VOCAB

    encoder, decode = moved(1 if slots else ROWS, SIZES["encoder_ctx_len"]), moved(ROWS, 1)
    found = [(run["bytes_in"], run["bytes_out"]) for run in runs]
    assert set(found) == {encoder, decode}
    assert found.count(decode) >= NEW - 1


def test_beams_on_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A beam's slot is copied with its cross caches and their mask."""
    sdk = make_sdk(tmp_path / "sdk")
    monkeypatch.setenv("QEFF_QAIC_SDK", str(sdk.root))
    own = tiny_seq2seq("t5", spread=SPREAD)
    model = QEFFAutoModelForSeq2SeqLM(own, continuous_batching=True)
    model.compile(**SIZES, full_batch_size=4, backend="qaic", num_cores=4)
    how = {"num_beams": 4, "max_new_tokens": 6, "output_scores": True, "return_dict_in_generate": True}
    found = model.generate(sources((11, 3)), **how)
    for row, source in enumerate(sources((11, 3))):
        wanted = theirs(own, source, **how)
        np.testing.assert_allclose(found.sequences_scores[row], wanted.sequences_scores[0], atol=2e-2)
    model.close()
