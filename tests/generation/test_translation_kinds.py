"""Each family of translation models is told its languages in its own way: texts are transformers', random weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from QEfficient import QEFFAutoModelForSeq2SeqLM
from QEfficient.errors import UsageError
from QEfficient.text.convert_sides import load_tokenizer
from tests.generation.tiny_seq2seq import tiny_seq2seq
from tests.text.translation_tokenizers import tokenizer_folder

pytestmark = pytest.mark.slow

TEXTS = ["A cup of tea.", "Rain, rain and more rain fell on the hills.", "日本の首都 – é!", "x"]
NEW = 6
T5_TASKS = {
    "summarization": {"prefix": "summarize: ", "min_length": 4, "num_beams": 2, "max_length": 500},
    "translation_en_to_de": {"prefix": "translate English to German: ", "num_beams": 3},
    "translation_en_to_fr": {"prefix": "translate English to French: "},
}


@dataclass(frozen=True)
class Kind:
    """A family: its tokenizer, its type, the languages of a call, and what transformers is told for them."""

    tokenizer: str
    model_type: str
    source: str | None = None
    target: str | None = None
    start: str = "pad_token"
    begin: str = ""
    said: str = ""


KINDS = [
    Kind("t5", "t5", "en", "de", begin="translate English to German: "),
    Kind("marian", "marian", "en", "de"),
    Kind("marian_of_languages", "marian", target="fra", begin=">>fra<<"),
    Kind("bart", "bart", start="eos_token"),
    Kind("mbart", "mbart", "de_DE", "ja_XX", said="decoder_start_token_id"),
    Kind("mbart50", "mbart", "de_DE", "ja_XX", start="eos_token", said="forced_bos_token_id"),
    Kind("m2m100", "m2m_100", "de", "ja", start="eos_token", said="forced_bos_token_id"),
    Kind("nllb", "m2m_100", "deu_Latn", "jpn_Jpan", start="eos_token", said="forced_bos_token_id"),
    Kind("pegasus", "pegasus"),
]


@dataclass(frozen=True)
class Made:
    kind: Kind
    folder: Path
    model: QEFFAutoModelForSeq2SeqLM
    theirs: Any
    tokenizer: Any


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.tokenizer)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    kind: Kind = request.param
    folder = tokenizer_folder(tmp_path_factory.mktemp("kinds") / kind.tokenizer, kind.tokenizer)
    tokenizer = load_tokenizer(folder)
    start = getattr(tokenizer, f"{kind.start}_id")
    special = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    theirs = tiny_seq2seq(kind.model_type, vocab_size=len(tokenizer), decoder_start_token_id=start, **special).eval()
    theirs.generation_config.num_beams = 2
    theirs.save_pretrained(folder)
    if kind.model_type == "t5":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "task_specific_params": T5_TASKS}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("home")))
        model = QEFFAutoModelForSeq2SeqLM.from_pretrained(folder)
        model.compile(ctx_len=16, encoder_ctx_len=48, full_batch_size=4, verify="off", backend="onnxruntime")
        yield Made(kind, folder, model, theirs, tokenizer)
        model.close()


def theirs(made: Made, text: str, **keywords: Any) -> str:
    """What transformers writes, as its documentation tells to."""
    kind, tokenizer = made.kind, made.tokenizer
    if kind.said:
        tokenizer.src_lang = kind.source
        keywords[kind.said] = tokenizer.convert_tokens_to_ids(
            f"__{kind.target}__" if kind.tokenizer == "m2m100" else kind.target
        )
    batch = tokenizer(kind.begin + text, return_tensors="pt")
    with torch.inference_mode():
        [row] = made.theirs.generate(**batch, **{"max_new_tokens": NEW, "do_sample": False, **keywords}).tolist()
    return tokenizer.decode(row, skip_special_tokens=True).strip()


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_translation_is_transformers(made: Made, num_beams: int) -> None:
    found = made.model.translate(TEXTS, made.kind.source, made.kind.target, num_beams=num_beams, max_new_tokens=NEW)
    assert found == [theirs(made, text, num_beams=num_beams) for text in TEXTS]
    assert any(found)


T5 = pytest.mark.parametrize("made", [KINDS[0]], indirect=True, ids=["t5"])


@T5
def test_a_task_brings_its_prefix_and_its_settings(made: Made) -> None:
    room = 15  # behind the decoder's start
    assert made.model.translate(TEXTS, "en", "de") == [
        theirs(made, text, num_beams=3, max_new_tokens=room) for text in TEXTS
    ]
    assert made.model.translate(TEXTS, target="de", num_beams=1, max_new_tokens=NEW) == [
        theirs(made, text, num_beams=1) for text in TEXTS
    ]
    short = {"num_beams": 2, "min_length": 4, "max_new_tokens": room}
    for text in TEXTS:
        batch = made.tokenizer("summarize: " + text, return_tensors="pt")
        with torch.inference_mode():
            [row] = made.theirs.generate(**batch, **short).tolist()
        wanted = made.tokenizer.decode(row, skip_special_tokens=True).strip()
        assert made.model.summarize(text) == made.model.summarize("summarize: " + text) == wanted


@T5
def test_a_prefix_of_the_callers_stands_in_its_place(made: Made) -> None:
    begun = "translate English to German: "
    found = made.model.translate(TEXTS, prefix=begun, num_beams=1, max_new_tokens=NEW)
    assert found == [theirs(made, text, num_beams=1) for text in TEXTS]
    assert made.model.translate([begun + text for text in TEXTS], num_beams=1, max_new_tokens=NEW) == found
    assert made.model.translate(TEXTS, prefix="", num_beams=1, max_new_tokens=NEW) != found


@T5
def test_pairs_that_there_are_not_list_those_that_there_are(made: Made) -> None:
    for named in ({}, {"source": "de"}, {"source": "en"}, {"target": "ro"}):
        with pytest.raises(UsageError, match="source='en' with target='fr'"):
            made.model.translate(TEXTS, **named)
    with pytest.raises(UsageError, match="no source language to choose"):
        made.model.summarize(TEXTS, language="en")
