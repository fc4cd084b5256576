"""Languages that a caller names, against those that a model knows."""

from __future__ import annotations

from typing import Any

import pytest

from QEfficient.errors import UsageError
from QEfficient.text.languages import (
    Languages,
    PrefixTask,
    choose_languages,
    prefix_tasks,
    translation_task,
)
from QEfficient.text.sides import SOURCE, TARGET, SourceReader, TextSides
from tests.generation.tokenizer_kinds import ours

CODES = {"eng_Latn": 10, "deu_Latn": 11, "jpn_Jpan": 12}
NLLB = TextSides(codes=CODES, before=(SOURCE,), after=(2,), place="first")
MBART = TextSides(codes=CODES, after=(2, SOURCE), place="start", source="eng_Latn")
MARIAN = TextSides(
    codes={"deu": 5, "fra": 6}, before=(TARGET,), after=(0,), place="row", source="en", target="gmw", coded=True
)
PAIR = TextSides(source="en", target="de")
T5 = {
    "task_specific_params": {
        "summarization": {"prefix": "summarize: ", "num_beams": 4, "max_length": 200, "odd": 1},
        "translation_en_to_de": {"prefix": "translate English to German: ", "num_beams": 4},
        "translation_en_to_fr": {"prefix": "translate English to French: "},
    }
}


def choose(
    sides: TextSides, source: Any = None, target: Any = None, repo: Any = None, texts: Any = ("x",)
) -> Languages:
    reader = ours("unigram")
    return choose_languages(sides, source, target, repo or {}, texts, SourceReader(reader, sides, reader))


def test_a_target_is_the_first_token_or_the_decoders_start() -> None:
    assert choose(NLLB, "eng_Latn", "deu_Latn") == Languages(
        {SOURCE: "eng_Latn", TARGET: "deu_Latn"}, {"forced_bos_token_id": 11}
    )
    assert choose(MBART, target="jpn_Jpan").settings == {"decoder_start_token_id": 12}


def test_what_is_left_out_is_the_models_own() -> None:
    assert choose(MBART, target="deu_Latn").chosen[SOURCE] == "eng_Latn"
    assert choose(NLLB, "eng_Latn", repo={"forced_bos_token_id": 12}).chosen[TARGET] == "jpn_Jpan"
    assert choose(MBART, repo={"decoder_start_token_id": 11}).chosen[TARGET] == "deu_Latn"
    assert choose(PAIR) == choose(PAIR, "en", "de") == Languages()


@pytest.mark.parametrize(("source", "target", "side"), [("eng_Latn", None, "target"), (None, "deu_Latn", "source")])
def test_none_that_is_named_is_an_error_which_lists_all(source: str | None, target: str | None, side: str) -> None:
    with pytest.raises(UsageError, match=f"several {side} languages") as caught:
        choose(NLLB, source, target)
    assert all(code in str(caught.value) for code in CODES)


def test_an_unknown_one_is_an_error_which_lists_all_and_suggests() -> None:
    with pytest.raises(UsageError, match="Did you mean 'deu_Latn'") as caught:
        choose(NLLB, "eng_Latn", "deu_latn")
    assert all(code in str(caught.value) for code in CODES)


@pytest.mark.parametrize(
    ("sides", "source", "target"),
    [(PAIR, "de", None), (PAIR, None, "fr"), (MARIAN, "de", "deu"), (TextSides(), "en", None)],
)
def test_what_can_not_be_chosen_is_refused(sides: TextSides, source: str | None, target: str | None) -> None:
    with pytest.raises(UsageError, match="language to choose"):
        choose(sides, source, target)


def test_texts_may_name_their_target() -> None:
    assert choose(MARIAN, "en", texts=(">>deu<< a", ">>fra<<b")) == Languages()
    assert choose(MARIAN, "en", "deu", texts=("a", ">>fra<<b")).chosen == {TARGET: "deu"}
    with pytest.raises(UsageError, match="several target languages"):
        choose(MARIAN, texts=(">>deu<< a", "b"))
    with pytest.raises(UsageError, match="'deX', which a text begins with"):
        choose(MARIAN, texts=(">>deX<< a",))


def test_tasks_have_a_prefix_and_settings() -> None:
    tasks = prefix_tasks(T5, {"num_beams", "max_length"}.__contains__)
    assert tasks["summarization"] == PrefixTask("summarize: ", {"num_beams": 4, "max_length": 200})
    assert prefix_tasks({}, bool) == prefix_tasks({"task_specific_params": None}, bool) == {}


def test_a_pair_of_languages_is_a_task() -> None:
    tasks = prefix_tasks(T5, {"num_beams"}.__contains__)
    assert translation_task(tasks, "en", "de", ["x"]) == tasks["translation_en_to_de"]
    assert translation_task(tasks, None, "fr", ["x"]) == tasks["translation_en_to_fr"]
    assert translation_task(tasks, None, None, ["translate English to German: x"]) == PrefixTask()
    assert translation_task({}, None, None, ["x"]) is None
    for named in ((None, None), ("en", None), ("de", "en")):
        with pytest.raises(UsageError, match="source='en' with target='fr'"):
            translation_task(tasks, *named, ["x"])
