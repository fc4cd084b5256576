"""``translate`` and ``summarize`` on a model that means something: it writes numbers in English or German words."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from QEfficient import QEFFAutoModelForSeq2SeqLM
from QEfficient.errors import InputError, LoadError, UsageError
from QEfficient.text import convert_sides
from tests import toy_translation
from tests.sdk import make_sdk
from tests.unit.test_torch_free import BLOCK

pytestmark = pytest.mark.slow

LENGTHS = {"ctx_len": 24, "encoder_ctx_len": 16}
EVERY = 100  # held-out items of a comparison of all back ends


@dataclass(frozen=True)
class Toy:
    model: QEFFAutoModelForSeq2SeqLM
    saved: Path
    home: Path


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toy]:
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("QEFF_HOME", str(home))
        model = QEFFAutoModelForSeq2SeqLM.from_pretrained(toy_translation.folder())
        model.compile(backend="onnxruntime", full_batch_size=8, **LENGTHS)
        yield Toy(model, Path(model.save_pretrained(tmp_path_factory.mktemp("saved") / "toy")), home)
        model.close()


@cache
def theirs(num_beams: int) -> tuple[tuple[int, ...], ...]:
    """What transformers writes of all held-out items: the new tokens up to the end of each, with it."""
    module = transformers.AutoModelForSeq2SeqLM.from_pretrained(toy_translation.folder()).eval()
    tokenizer = toy_translation.tokenizer()
    sources = [source for source, _ in toy_translation.held_out()]
    found: list[tuple[int, ...]] = []
    with torch.inference_mode():
        for start in range(0, len(sources), 250):
            batch = tokenizer(sources[start : start + 250], return_tensors="pt", padding=True)
            rows = module.generate(**batch, num_beams=num_beams).tolist()
            found += [tuple(row[1 : row.index(0) + 1]) for row in rows]
    return tuple(found)


@cache
def their_texts(num_beams: int) -> list[str]:
    tokenizer = toy_translation.tokenizer()
    return [tokenizer.decode(row, skip_special_tokens=True) for row in theirs(num_beams)]


@pytest.mark.parametrize("num_beams", [1, 4])
def test_transformers_translates_what_it_never_saw(num_beams: int) -> None:
    wanted = [target for _, target in toy_translation.held_out()]
    right = sum(found == target for found, target in zip(their_texts(num_beams), wanted, strict=True))
    assert right >= 0.99 * len(wanted)


@pytest.mark.parametrize("num_beams", [1, 4])
def test_the_program_writes_transformers_tokens(toy: Toy, num_beams: int) -> None:
    sources = [source for source, _ in toy_translation.held_out()]
    assert toy.model.translate(sources, num_beams=num_beams) == their_texts(num_beams)
    tokenizer, ids = toy_translation.tokenizer(), theirs(num_beams)
    for place in range(0, len(sources), 199):
        batch = tokenizer(sources[place], return_tensors="pt")
        [row] = toy.model.generate(**batch, num_beams=num_beams, max_length=24).tolist()
        assert tuple(row[1:]) == ids[place]


@pytest.mark.parametrize(
    ("form", "generation"),
    [
        ("slots", "new"),
        ("plain", "old"),
        pytest.param("slots", "old", marks=pytest.mark.sweep),
        pytest.param("plain", "new", marks=pytest.mark.sweep),
    ],
)
def test_the_card_does_too(form: str, generation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("QEFF_QAIC_SDK", str(make_sdk(tmp_path / "sdk", devices=1, generation=generation).root))
    folder = toy_translation.folder()
    model = QEFFAutoModelForSeq2SeqLM.from_pretrained(folder, continuous_batching=form == "slots")
    rows = {"full_batch_size": 8} if form == "slots" else {"batch_size": 8}
    model.compile(backend="qaic", num_cores=4, **rows, **LENGTHS)
    held_out = toy_translation.held_out()[:EVERY]
    for num_beams in (1, 4):
        found = model.translate([source for source, _ in held_out], num_beams=num_beams)
        assert found == their_texts(num_beams)[:EVERY]
    model.close()


# ---------------------------------------------------------------------------------------------- what a caller may do


def test_a_language_is_named_by_the_call_or_by_the_text(toy: Toy) -> None:
    assert toy.model.translate("1234", target="eng") == "one thousand two hundred thirty-four"
    assert toy.model.translate("1234", "num", "deu") == "eintausendzweihundertvierunddreißig"
    assert toy.model.translate([">>eng<< 21", ">>deu<< 21"]) == ["twenty-one", "einundzwanzig"]


def test_none_and_unknown_languages_list_all(toy: Toy) -> None:
    with pytest.raises(UsageError, match=r"several target languages(.|\n)*'eng', 'deu'"):
        toy.model.translate("21")
    with pytest.raises(UsageError, match=r"'dei'\. Did you mean 'deu'(.|\n)*'eng', 'deu'"):
        toy.model.translate("21", target="dei")
    with pytest.raises(UsageError, match="no source language to choose"):
        toy.model.translate("21", "fra", "deu")


def test_order_and_number_are_the_callers(toy: Toy) -> None:
    numbers = list(range(9000, 3000, -10))  # more than are asked for at once
    found = toy.model.translate([str(n) for n in numbers], target="deu", num_beams=1)
    right = sum(words == toy_translation.german(n) for n, words in zip(numbers, found, strict=True))
    assert right >= 0.99 * len(numbers)
    assert toy.model.translate([], target="deu") == []
    assert toy.model.translate(["21", " \n", "22"], target="eng") == ["twenty-one", "", "twenty-two"]
    assert toy.model.translate((text for text in ["21"]), target="eng") == ["twenty-one"]


def test_what_is_too_long_is_refused_before_anything_runs(toy: Toy) -> None:
    before = toy.model.device_report()["work"]
    with pytest.raises(InputError, match=r"2 of 3 texts are longer(.|\n)*text 1 has 23 tokens(.|\n)*at most 16"):
        toy.model.translate(["21", "12345678901234567890", "9" * 40], target="eng")
    assert toy.model.device_report()["work"] == before


def test_or_split_between_sentences(toy: Toy) -> None:
    """Of these, two fit at once, and three do not."""
    sentences = [f"{number}." for number in (4711, 8150, 4242, 7077, 1999)]
    runs = ["4711. 8150.", "4242. 7077.", "1999."]
    found = toy.model.translate([" ".join(sentences), "2121"], target="eng", overlong="split", num_beams=1)
    assert found == [" ".join(toy.model.translate(runs, target="eng", num_beams=1)), toy_translation.english(2121)]
    assert found[0].startswith("four thousand seven hundred eleven.")
    coded = toy.model.translate([">>deu<< " + " ".join(sentences)], overlong="split", num_beams=1)
    assert coded == [" ".join(toy.model.translate(runs, target="deu", num_beams=1))]
    with pytest.raises(InputError, match="sentence 1 of text 0 has 24 tokens"):
        toy.model.translate("1. 12345678901234567890. 2.", target="eng", overlong="split")
    with pytest.raises(UsageError, match="overlong"):
        toy.model.translate("1", target="eng", overlong="cut")


def test_settings_are_those_of_generate(toy: Toy) -> None:
    assert toy.model.translate("1234", target="eng", max_new_tokens=3, num_beams=1) == "one"
    assert toy.model.translate("1234", target="eng", stop_strings=["two"], num_beams=1) == "one thousand"
    drawn = [toy.model.translate("7", target="deu", do_sample=True, num_beams=1, seed=seed) for seed in (3, 3)]
    assert drawn[0] == drawn[1]
    with pytest.raises(UsageError, match="num_beam_s"):
        toy.model.translate("7", target="deu", num_beam_s=2)
    with pytest.raises(UsageError, match="one answer"):
        toy.model.translate("7", target="deu", num_beams=2, num_return_sequences=2)
    with pytest.raises(UsageError, match="input_ids is of generate"):
        toy.model.translate("7", target="deu", input_ids=[[1]])


def test_a_stop_string_is_one_of_the_target(toy: Toy) -> None:
    tokenizer = toy_translation.tokenizer()
    batch = tokenizer(">>eng<< 1234", return_tensors="pt")
    [row] = toy.model.generate(**batch, num_beams=1, max_length=24, stop_strings=["hundred"])
    assert tokenizer.decode(row, skip_special_tokens=True) == "one thousand two hundred"


def test_a_bar_counts_texts(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    toy.model.translate(["1", "", "3"], target="eng", show_progress=True)
    assert "3/3" in capsys.readouterr().err
    toy.model.translate(["1", "2", "3"], target="eng")
    assert capsys.readouterr().err == ""


def test_a_summary_takes_the_same(toy: Toy) -> None:
    assert toy.model.summarize(["21", "22"], language="eng", num_beams=1) == ["twenty-one", "twenty-two"]
    assert toy.model.summarize("21", language="eng") == "twenty-one"


def test_a_saved_program_needs_no_torch(toy: Toy, tmp_path: Path) -> None:
    code = f"""
from QEfficient import QEFFAutoModelForSeq2SeqLM
model = QEFFAutoModelForSeq2SeqLM.from_pretrained({str(toy.saved)!r})
print(model.translate(["815", "4711"], target="deu"))
"""
    said = subprocess.run([sys.executable, "-c", BLOCK + code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == str([toy_translation.german(815), toy_translation.german(4711)])


def test_a_program_that_takes_ids_only_says_why(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(toy.home))
    monkeypatch.setattr(convert_sides, "first_difference", lambda *_: "of a reason")
    model: Any = QEFFAutoModelForSeq2SeqLM.from_pretrained(toy_translation.folder())
    model.compile(backend="onnxruntime", full_batch_size=4, **LENGTHS)
    with pytest.raises(LoadError, match="ids only, not texts: of a reason"):
        model.translate("1", target="eng")
    batch = toy_translation.tokenizer()(">>eng<< 4711", return_tensors="pt")
    found = model.generate(**batch)
    assert toy_translation.tokenizer().decode(found[0], skip_special_tokens=True) == toy_translation.english(4711)
    model.close()
