"""Every file of facts is in the sweep, and says what transformers says."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import transformers

from QEfficient.architectures import find
from QEfficient.architectures.table import TABLE, like
from QEfficient.runtime.names import OF_TRANSFORMERS
from tests.sweep.all_cases import CASES
from tests.sweep.case import Case
from tests.sweep.table import PAGE, defaults, graph_inputs, page
from tests.tiny_models import files_of_facts, known_types

ROOT = Path(__file__).parents[2]
TYPES = {case.model_type for case in CASES}
TEXT = {case.model_type: case for case in CASES if case.kind in ("text encoder", "text decoder", "encoder half")}


def test_every_known_type_is_in_the_sweep() -> None:
    """A new line of the table or file of facts that no case builds fails here."""
    assert known_types() - {name.replace("-", "_") for name in TYPES} == set()


def test_a_type_has_a_line_or_a_file_and_the_lines_are_sorted() -> None:
    assert list(TABLE) == sorted(TABLE)
    assert {name.replace("-", "_") for name in TABLE} & set(files_of_facts()) == set()


def test_names_of_cases_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_weights_are_large_enough_to_tell() -> None:
    assert all(case.std >= 0.3 for case in CASES)


def test_the_table_of_the_docs_is_the_sweep_s() -> None:
    """``python -m tests.sweep.table`` writes it."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_the_how_to_shows_a_whole_file_of_under_forty_lines_and_lines_of_the_table() -> None:
    text = (ROOT / "docs" / "how-to" / "add_an_architecture.md").read_text(encoding="utf-8")
    (shown,) = [block for block in blocks(text, "python") if "ARCHITECTURE = " in block]
    assert shown in [path.read_text(encoding="utf-8") for path in files_of_facts().values()]
    assert len(shown.splitlines()) < 40
    lines = Path(inspect.getfile(like)).read_text(encoding="utf-8").splitlines()
    shown = "".join(blocks(text, "text")).splitlines()
    assert shown and set(shown) <= set(lines)


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


TASKS = ("SequenceClassification", "TokenClassification", "QuestionAnswering", "MaskedLM", "MultipleChoice")
SERVED = {name: case for name, case in TEXT.items() if not case.refused}


def classes(case: Case) -> list[type]:
    """The class of a type's bare model, and those of its tasks."""
    from transformers.models.auto import modeling_auto as auto

    lists = [getattr(auto, f"AutoModelFor{task}")._model_mapping for task in TASKS]
    config = type(getattr(transformers, case.model_class).config_class())
    heads = [one[config] for one in lists if config in one.keys()]  # noqa: SIM118  # a lazy mapping is no dict
    bare = [auto.AutoModel._model_mapping[config]] if config in auto.AutoModel._model_mapping.keys() else []  # noqa: SIM118
    return [getattr(transformers, case.model_class), *bare, *heads]


@pytest.mark.parametrize("case", SERVED.values(), ids=lambda case: case.name)
def test_every_input_of_huggingface_s_model_is_the_graph_s_or_said_to_be_left_out(case: Case) -> None:
    """So that nothing a caller may give is ignored, or refused with advice that changes the numbers."""
    facts = find(case.model_type)
    known = {"self", "return_dict", "args", *graph_inputs(facts, case.config)}
    told = {"attention_mask", "token_type_ids", *OF_TRANSFORMERS, *facts.left_out}
    taken = [one for kind in classes(case) for one in inspect.signature(kind.forward).parameters.values()]
    assert {one.name for one in taken if one.kind is not inspect.Parameter.VAR_KEYWORD} - known - told == set()


@pytest.mark.parametrize("case", TEXT.values(), ids=lambda case: case.name)
def test_facts_of_an_empty_config_are_transformers_defaults(case: Case) -> None:
    facts, known = find(case.model_type), defaults(case)
    assert facts.model_type == known["model_type"] == case.model_type
    assert facts.max_length({}) == facts.max_length(known)
    assert facts.pad_id({}) == facts.pad_id(known) == known.get("pad_token_id")
