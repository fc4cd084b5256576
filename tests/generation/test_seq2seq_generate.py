"""``QEFFAutoModelForSeq2SeqLM.generate`` against transformers: tokens, scores and shapes, of sources of all lengths."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from QEfficient import QEFFAutoModelForSeq2SeqLM
from QEfficient.backends.state_session import StateSession
from QEfficient.build.generation_files import generation_config
from QEfficient.errors import InputError, OptionError, UsageError
from QEfficient.generation.decoder import Chunk
from QEfficient.generation.session_decoder import SessionDecoder
from QEfficient.records import SOURCE_MASK
from tests.generation.tiny_seq2seq import CONFIGS, LIMIT, VOCAB, sources, theirs, tiny_seq2seq

LENGTHS = (11, 1, 29, 40)
"""More sources than rows are decoded at once; of one token too."""
ROWS = 3
SCORED = {"output_scores": True, "return_dict_in_generate": True}

Pair = tuple[QEFFAutoModelForSeq2SeqLM, Any]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Pair]]:
    """A compiled model by its type and form, whose caches begin as NaN, and transformers' own."""
    home, opened = tmp_path_factory.mktemp("home"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(home))
        patch.setattr(StateSession, "initial", np.nan)

        @cache
        def made(model_type: str, slots: bool = True) -> Pair:
            own = tiny_seq2seq(model_type)
            model = QEFFAutoModelForSeq2SeqLM(own, continuous_batching=slots)
            rows = {"full_batch_size": ROWS, "kv_cache_batch_size": 6} if slots else {"batch_size": ROWS}
            verify = "on" if (model_type, slots) == ("t5", True) else "off"  # what it writes is compared here
            model.compile(backend="onnxruntime", encoder_ctx_len=48, ctx_len=32, verify=verify, **rows)
            opened.append(model)
            return model, own

        yield made
        for model in opened:
            model.close()


def padded(rows: list[list[int]], pad: int, side: str = "right") -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    ids, mask = torch.full((len(rows), width), pad), torch.zeros((len(rows), width), dtype=torch.int64)
    for place, row in enumerate(rows):
        where = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
        ids[place, where], mask[place, where] = torch.tensor(row), 1
    return ids, mask


def without_padding(row: Any, pad: int) -> list[int]:
    """A row up to its last token that is no padding; the first token may be the pad token itself."""
    tokens = [int(token) for token in row]
    while len(tokens) > 1 and tokens[-1] == pad:
        tokens.pop()
    return tokens


def check(pair: Pair, **keywords: Any) -> None:
    """All sources at once on the program, each alone in transformers."""
    model, own = pair
    pad = own.config.pad_token_id
    rows = sources(LENGTHS)
    many = keywords.get("num_return_sequences", 1)
    found = model.generate(rows, **keywords, **SCORED)
    beams = keywords.get("num_beams", 1) > 1
    for place, row in enumerate(rows):
        wanted = theirs(own, row, **keywords, **SCORED)
        for number in range(many):
            got = found.sequences[place * many + number]
            assert without_padding(got, pad) == without_padding(wanted.sequences[number], pad), (place, number)
        if beams:
            got = found.sequences_scores[place * many : (place + 1) * many]
            np.testing.assert_allclose(got, wanted.sequences_scores.numpy(), atol=1e-4)
        else:
            for step, scores in enumerate(wanted.scores):
                np.testing.assert_allclose(found.scores[step][place], scores[0].numpy(), atol=2e-4)


TYPES = pytest.mark.parametrize("model_type", CONFIGS)


@pytest.mark.parametrize(("model_type", "slots"), [("t5", True), ("t5", False), ("marian", True)])
def test_greedy_tokens_are_transformers(model_type: str, slots: bool, compiled: Callable[..., Pair]) -> None:
    check(compiled(model_type, slots), max_new_tokens=16)


@pytest.mark.parametrize("model_type", ["t5", "marian"])
@pytest.mark.parametrize("beams", [4, 6])
def test_beams_are_transformers(model_type: str, beams: int, compiled: Callable[..., Pair]) -> None:
    check(compiled(model_type), num_beams=beams, num_return_sequences=2, max_new_tokens=12)


@pytest.mark.slow
@pytest.mark.sweep
@TYPES
def test_every_type_writes_transformers_tokens(model_type: str, compiled: Callable[..., Pair]) -> None:
    pair = compiled(model_type)
    check(pair, max_new_tokens=16)
    check(pair, num_beams=4, num_return_sequences=3, max_new_tokens=12)
    check(pair, num_beams=6, early_stopping=True, length_penalty=2.0, max_new_tokens=12)
    check(compiled(model_type, False), max_new_tokens=12)


@pytest.mark.parametrize(
    "keywords",
    [
        {"forced_bos_token_id": 20, "forced_eos_token_id": 21, "max_new_tokens": 9},
        {"bad_words_ids": [[3], [40, 41], [VOCAB - 1]], "max_length": 15},
        {"min_length": 12, "max_length": 18},
        {"min_new_tokens": 6, "max_new_tokens": 12, "repetition_penalty": 1.4},
        {"no_repeat_ngram_size": 2, "max_new_tokens": 20},
        {"encoder_no_repeat_ngram_size": 1, "max_new_tokens": 12},
        {"encoder_no_repeat_ngram_size": 2, "encoder_repetition_penalty": 1.7, "max_new_tokens": 12},
        {"encoder_repetition_penalty": 0.6, "num_beams": 4, "max_new_tokens": 10},
        {"suppress_tokens": [4, 5, 6], "begin_suppress_tokens": [7, 8], "max_new_tokens": 8},
        {"decoder_start_token_id": 33, "max_new_tokens": 8},
        {"num_beams": 4, "length_penalty": 0.3, "max_length": 14, "early_stopping": "never"},
    ],
    ids=lambda keywords: "-".join(keywords),
)
def test_settings_are_obeyed(keywords: dict[str, Any], compiled: Callable[..., Pair]) -> None:
    check(compiled("marian"), **keywords)


def test_a_copy_moves_the_positions_in_use(compiled: Callable[..., Pair]) -> None:
    """Of a source those that were read; its mask whole, as the target's source may have been longer."""
    loaded = compiled("t5")[0]._need_loaded()
    with SessionDecoder(loaded.backend.open(loaded.program), loaded.facts) as decoder:
        decoder.prefill([Chunk(0, (0, 5, 6), 0, tuple(sources((7,))[0]))])
        held = decoder.read(0)
        decoder.write(1, {name: np.full_like(array, 9) for name, array in held.items()})
        decoder.copy(0, 1, 2)
        for name, array in decoder.read(1).items():
            used = None if name == SOURCE_MASK else 2 if "_self" in name else 7
            assert np.array_equal(array[:, :used], held[name][:, :used]), name
            assert used is None or (array[:, used:] == 9).all(), name
        decoder.copy(0, 1)
        assert all(np.array_equal(array, held[name], equal_nan=True) for name, array in decoder.read(1).items())


def test_padding_on_either_side_changes_nothing(compiled: Callable[..., Pair]) -> None:
    model, own = compiled("t5")
    pad, rows = own.config.pad_token_id, sources(LENGTHS)
    wanted = model.generate(rows, max_new_tokens=10)
    for side in ("right", "left"):
        ids, mask = padded(rows, pad, side)
        assert torch.equal(model.generate(ids, attention_mask=mask, max_new_tokens=10), torch.from_numpy(wanted))
    ids, mask = padded(rows, pad)
    assert torch.equal(model.generate(inputs=ids, max_new_tokens=10), torch.from_numpy(wanted))  # pad tokens are none
    whole = own.generate(ids, attention_mask=mask, max_new_tokens=10)
    given = {"input_ids": ids, "attention_mask": mask}
    found = model.generate(given, generation_config=transformers.GenerationConfig(max_new_tokens=10, **_special(own)))
    assert torch.equal(found, whole)


def _special(own: Any) -> dict[str, int]:
    names = ("pad_token_id", "eos_token_id", "decoder_start_token_id")
    return {name: getattr(own.config, name) for name in names}


def test_what_the_decoder_begins_with(compiled: Callable[..., Pair]) -> None:
    model, own = compiled("t5")
    rows = sources((7, 12))
    start = own.config.decoder_start_token_id
    for begun in ([[start, 30, 31], [start, 40, 41]], [[30, 31], [40, 41]]):
        found = model.generate(rows, decoder_input_ids=begun, max_new_tokens=6, min_new_tokens=6)
        for place, row in enumerate(rows):
            given = torch.tensor([begun[place]])
            wanted = theirs(own, row, decoder_input_ids=given, max_new_tokens=6, min_new_tokens=6)
            assert found[place].tolist() == wanted[0].tolist()
    each = model.generate(rows, decoder_start_token_id=[50, 51], max_new_tokens=6, min_new_tokens=6)
    assert each[:, 0].tolist() == [50, 51]
    for place, row in enumerate(rows):
        alone = theirs(own, row, decoder_start_token_id=50 + place, max_new_tokens=6, min_new_tokens=6)
        assert each[place].tolist() == alone[0].tolist()


def test_draws_depend_on_nobody_else(compiled: Callable[..., Pair]) -> None:
    model, _ = compiled("marian")
    rows, how = sources(LENGTHS), {"do_sample": True, "num_return_sequences": 2, "seed": 5, "max_new_tokens": 12}
    together = model.generate(rows, **how)
    assert len({tuple(row) for row in together.tolist()}) > len(rows)
    pad = model.generation_config.pad_token_id
    for place, row in enumerate(rows):
        alone = model.generate([row], **how)
        for number in range(2):
            assert without_padding(alone[number], pad) == without_padding(together[2 * place + number], pad)


def test_a_streamer_gets_the_tokens(compiled: Callable[..., Pair]) -> None:
    class Kept:
        def __init__(self) -> None:
            self.tokens: list[int] = []

        def put(self, ids: torch.Tensor) -> None:
            self.tokens += ids.flatten().tolist()

        def end(self) -> None:
            self.tokens.append(-1)

    model, _ = compiled("t5")
    kept = Kept()
    found = model.generate(sources((9,)), streamer=kept, max_new_tokens=8)
    assert kept.tokens == [*found[0].tolist(), -1]


def test_the_record_is_transformers_own(compiled: Callable[..., Pair]) -> None:
    model, own = compiled("t5")
    ids = torch.tensor(sources((9, 9)))
    for beams in (1, 4):
        found = model.generate(ids, num_beams=beams, max_new_tokens=6, **SCORED)
        wanted = own.generate(ids, num_beams=beams, max_new_tokens=6, **SCORED)
        assert type(found) is type(wanted)
        assert torch.equal(found.sequences, wanted.sequences)
        assert len(found.scores) == len(wanted.scores)


def test_what_does_not_fit_is_refused(compiled: Callable[..., Pair]) -> None:
    model, _ = compiled("t5")
    plain, _ = compiled("t5", False)
    with pytest.raises(InputError, match="1 to 48"):
        model.generate(sources((49,)))
    assert model.generate(sources((48,)), max_new_tokens=2).shape[0] == 1
    with pytest.raises(InputError, match="1 to 47"):
        plain.generate(sources((48,)))
    with pytest.raises(InputError, match="ctx_len"):
        model.generate(sources((5,)), max_new_tokens=32)
    with pytest.raises(InputError, match="no token"):
        model.generate([[]])
    with pytest.raises(InputError, match=f"0 to {VOCAB - 1}"):
        model.generate([[VOCAB]])
    with pytest.raises(UsageError, match="takes ids"):
        model.generate(prompts=["a text"])
    with pytest.raises(InputError, match="as many"):
        model.generate(sources((5, 6)), decoder_input_ids=[[1]])
    with pytest.raises(OptionError, match="one a row"):
        model.generate(sources((5, 6)), decoder_start_token_id=[1])
    assert LIMIT > 48  # the program's bound, not the model's


def test_a_saved_program_writes_the_same_without_torch(compiled: Callable[..., Pair], tmp_path: Path) -> None:
    model, _ = compiled("marian")
    wanted = model.generate(sources(LENGTHS), max_new_tokens=9, num_beams=4)
    script = """
import json, sys
sys.modules["torch"] = sys.modules["transformers"] = sys.modules["onnx"] = None
from QEfficient import QEFFAutoModelForSeq2SeqLM
saved = QEFFAutoModelForSeq2SeqLM.from_pretrained(sys.argv[1])
assert saved.device_report()["decoder"]["encoder_ctx_len"] == 48
print(json.dumps(saved.generate(json.loads(sys.argv[2]), max_new_tokens=9, num_beams=4).tolist()))
"""
    asked = [model.save_pretrained(tmp_path / "saved"), json.dumps(sources(LENGTHS))]
    done = subprocess.run([sys.executable, "-c", script, *asked], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == wanted.tolist()


def test_an_old_repo_says_in_its_config_how_it_writes(tmp_path: Path) -> None:
    """Without a ``generation_config.json``, as transformers reads it."""
    said = {
        "num_beams": 4,
        "length_penalty": 2.0,
        "forced_eos_token_id": 2,
        "no_repeat_ngram_size": 3,
        "max_length": 60,
    }
    config = {
        **transformers.BartConfig(**CONFIGS["bart"]).to_dict(),
        **said,
        "architectures": ["BartForConditionalGeneration"],
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = QEFFAutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert model._origin is not None
    found = generation_config(model._origin)
    theirs_own = transformers.GenerationConfig.from_model_config(dict(config))
    for name in (*said, "decoder_start_token_id", "eos_token_id", "bos_token_id", "pad_token_id"):
        assert found[name] == getattr(theirs_own, name), name


def test_the_torch_model_answers_too(compiled: Callable[..., Pair]) -> None:
    model, own = compiled("t5")
    ids = torch.tensor(sources((9,)))
    assert torch.equal(model.generate(ids, runtime_ai100=False, max_new_tokens=5), own.generate(ids, max_new_tokens=5))
