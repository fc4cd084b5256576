"""Settings of a request: each field of transformers' GenerationConfig, who goes before whom, lengths, bad values."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from transformers import GenerationConfig

from QEfficient.errors import InputError, OptionError
from QEfficient.generation.settings import GenerationSettings
from QEfficient.generation.settings_fields import MACHINERY, NOTES, OBEYED, OURS, REFUSED
from QEfficient.generation.settings_reading import parse_settings

DEFAULTS = {**vars(GenerationConfig()), **GenerationConfig._get_default_generation_params()}
# One value of each refused field that asks for something.
ASKED: dict[str, Any] = {
    "guidance_scale": 1.5,
    "watermarking_config": {"bias": 2.0},
    "token_healing": True,
    "output_attentions": True,
    "output_hidden_states": True,
    "num_beam_groups": 2,
    "diversity_penalty": 0.5,
    "constraints": ["x"],
    "force_words_ids": [[1]],
    "penalty_alpha": 0.6,
    "dola_layers": "low",
    "use_mtp": True,
    "assistant_early_exit": 2,
    "assistant_ensemble_weight": 0.5,
    "speculation_type": "dflash",
    "is_assistant": True,
    "low_memory": True,
}


def test_every_field_of_transformers_is_obeyed_refused_or_machinery() -> None:
    """Fails when transformers adds a field: it has to be looked at."""
    groups = [set(OBEYED) - set(OURS), set(REFUSED), set(MACHINERY)]
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert set(vars(GenerationConfig())) - set(NOTES) == set().union(*groups)
    assert set(GenerationConfig().to_dict()) - set(NOTES) <= set().union(*groups)
    assert set(GenerationConfig._get_default_generation_params()) <= set().union(*groups)


def test_what_is_obeyed_is_a_setting_with_transformers_default() -> None:
    assert {one.name for one in fields(GenerationSettings)} - {"named"} == set(OBEYED)
    default = GenerationSettings()
    for name in set(OBEYED) - set(OURS) - {"max_length"}:
        theirs = DEFAULTS[name]
        assert getattr(default, name) == theirs or (theirs is None and not getattr(default, name)), name


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_field_passes_at_its_default_only(name: str) -> None:
    for neutral in (None, DEFAULTS[name], *REFUSED[name].neutral):
        assert parse_settings({name: neutral}, {name: neutral}) == GenerationSettings()
    for repo, caller in (({name: ASKED[name]}, {}), ({}, {name: ASKED[name]})):
        with pytest.raises(OptionError, match=name) as caught:
            parse_settings(repo, caller)
        assert ("generation_config.json" in str(caught.value)) == bool(repo)
    assert parse_settings({name: ASKED[name]}, {name: None}) == GenerationSettings()


@pytest.mark.parametrize("name", MACHINERY)
def test_machinery_is_the_repos_business_and_not_the_callers(name: str) -> None:
    assert parse_settings({name: "else"}) == parse_settings(keywords={name: DEFAULTS[name]}) == GenerationSettings()
    with pytest.raises(OptionError, match=name):
        parse_settings(keywords={name: "else"})
    assert parse_settings({name: "else"}, config={name: "else"}) == GenerationSettings()


def test_precedence_is_transformers() -> None:
    repo = {
        "temperature": 0.6,
        "top_k": 20,
        "top_p": 0.8,
        "do_sample": True,
        "eos_token_id": [2, 5],
        "chat_format": "x",
    }
    config = GenerationConfig(temperature=0.5, top_p=0.7)
    found = parse_settings(repo, {"temperature": 0.4, "top_k": None}, config)
    assert (found.temperature, found.top_p, found.top_k, found.do_sample) == (0.4, 0.7, 0, True)
    assert found.eos_token_id == (2, 5)
    assert found.named == {"temperature", "top_p", "top_k"}
    assert parse_settings(repo, {"eos_token_id": None}).eos_token_id == ()


def test_a_saved_file_is_read(tmp_path: Path) -> None:
    config = GenerationConfig(sequence_bias=[[[1, 2], 0.5]], eos_token_id=[3, 3, 4], max_new_tokens=7, do_sample=True)
    config.save_pretrained(tmp_path)
    found = parse_settings(json.loads((tmp_path / "generation_config.json").read_text()))
    assert found.sequence_bias == {(1, 2): 0.5}
    assert (found.eos_token_id, found.max_new_tokens, found.named) == ((3, 4), 7, frozenset())
    assert parse_settings(config=config).named == {"sequence_bias", "eos_token_id", "max_new_tokens", "do_sample"}


def test_temperature_0_is_greedy() -> None:
    found = parse_settings({"do_sample": True}, {"temperature": 0, "do_sample": True})
    assert not found.do_sample and found.unused == ()


def test_what_does_nothing_is_named() -> None:
    found = parse_settings({"top_p": 0.5}, {"temperature": 0.7, "top_k": 50, "length_penalty": 2.0})
    assert found.unused == ("temperature", "length_penalty")
    assert parse_settings(keywords={"do_sample": True, "temperature": 0.7}).unused == ()


@pytest.mark.parametrize(
    ("repo", "caller", "otherwise", "most"),
    [
        ({}, {}, None, 90),
        ({}, {}, 20, 20),
        ({}, {}, 200, 90),
        ({"max_length": 40}, {}, 20, 30),
        ({"max_length": 4096}, {}, 20, 90),
        ({"max_new_tokens": 500}, {}, None, 90),
        ({"max_length": 40}, {"max_new_tokens": 5}, None, 5),
        ({"max_new_tokens": 7}, {"max_length": 40}, None, 7),  # as in transformers
        ({"max_new_tokens": 7}, {"max_length": 40, "max_new_tokens": None}, None, 30),
        ({"max_new_tokens": 7}, {"max_new_tokens": 90}, None, 90),
    ],
)
def test_length(repo: dict[str, Any], caller: dict[str, Any], otherwise: int | None, most: int) -> None:
    assert parse_settings(repo, caller).most_new_tokens(10, 90, otherwise) == most


def test_a_length_that_does_not_fit_is_refused_with_both_numbers() -> None:
    with pytest.raises(InputError, match=r"10 tokens of the prompt and 91 new ones\n.*100 in all"):
        parse_settings({}, {"max_new_tokens": 91}).most_new_tokens(10, 90)
    with pytest.raises(InputError, match="max_length does not fit"):
        parse_settings({}, {"max_length": 101}).most_new_tokens(10, 90)
    with pytest.raises(InputError, match="10 tokens, with max_length=10 in the repo"):
        parse_settings({"max_length": 10}).most_new_tokens(10, 90)


BAD = [
    {"temperature": -0.1},
    {"temperature": "hot"},
    {"temperature": float("nan")},
    {"top_k": -1},
    {"top_k": 2.5},
    {"top_k": True},
    {"top_p": 1.5},
    {"top_p": -0.1},
    {"min_p": 2},
    {"top_h": 0},
    {"typical_p": 0.0},
    {"epsilon_cutoff": 1.0},
    {"eta_cutoff": -1e-3},
    {"repetition_penalty": 0},
    {"repetition_penalty": float("inf")},
    {"presence_penalty": 2.5},
    {"frequency_penalty": -3},
    {"no_repeat_ngram_size": -2},
    {"encoder_repetition_penalty": -1.5},
    {"encoder_no_repeat_ngram_size": 1.5},
    {"prompt_lookup_num_tokens": -1},
    {"prompt_lookup_num_tokens": "10"},
    {"max_matching_ngram_size": 0},
    {"max_new_tokens": 0},
    {"max_new_tokens": -5},
    {"max_length": "20"},
    {"min_length": -1},
    {"max_time": 0},
    {"early_stopping": "always"},
    {"do_sample": "yes"},
    {"num_beams": 0},
    {"num_return_sequences": 2},
    {"num_return_sequences": 4, "num_beams": 3},
    {"num_return_sequences": 2, "do_sample": True, "temperature": 0},
    {"eos_token_id": "</s>"},
    {"eos_token_id": [1, 2.5]},
    {"bad_words_ids": []},
    {"bad_words_ids": [[]]},
    {"bad_words_ids": [1, 2]},
    {"bad_words_ids": [[-1]]},
    {"sequence_bias": {}},
    {"sequence_bias": {(1,): "x"}},
    {"sequence_bias": {1: 2.0}},
    {"sequence_bias": ["ab"]},
    {"logit_bias": {"x": 1}},
    {"logit_bias": {1: 101}},
    {"logit_bias": [1]},
    {"forced_bos_token_id": -1},
    {"exponential_decay_length_penalty": (1, 1.5)},
    {"exponential_decay_length_penalty": (1,), "eos_token_id": 2},
    {"exponential_decay_length_penalty": (1, 0), "eos_token_id": 2},
    {"forced_eos_token_id": [1, 2], "suppress_tokens": [1, 2, 3]},
    {"stop_strings": [""]},
    {"stop_strings": 3},
    {"logprobs": -1},
    {"seed": 1.5},
    {"temprature": 0.5},
    {"generation_config": {}},
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_a_bad_value_is_refused_by_name(bad: dict[str, Any]) -> None:
    with pytest.raises(OptionError) as caught:
        parse_settings(keywords=bad)
    text = str(caught.value)
    assert any(name in text for name in bad)
    assert all(word in text for word in ("got:", "allowed:", "do:"))


def test_a_typo_is_told_its_nearest_names() -> None:
    with pytest.raises(OptionError, match="'temperature'"):
        parse_settings(keywords={"temprature": 0.5})
    with pytest.raises(OptionError, match="'top_k'"):
        parse_settings(config={"topk": 5})
    with pytest.raises(OptionError, match="is no config"):
        parse_settings(config=3)


def test_a_typo_is_told_what_does_something_and_nothing_else() -> None:
    with pytest.raises(OptionError) as caught:
        parse_settings(keywords={"jsonschema": {}})
    assert "Did you mean 'json_schema'" in str(caught.value)
    assert caught.value.allowed is not None
    named = caught.value.allowed.replace("'", "").split(", ")
    assert {"regex", "max_new_tokens", "generation_config"} <= set(named)
    assert not set(named) & {*REFUSED, *MACHINERY}


def test_a_bad_value_of_the_repos_file_says_where_it_stands() -> None:
    with pytest.raises(OptionError, match="top_p of the repo's generation_config.json"):
        parse_settings({"top_p": 3})


def test_numbers_of_other_libraries_are_read() -> None:
    import numpy as np

    found = parse_settings(
        keywords={
            "temperature": np.float32(0.5),
            "top_k": np.int64(3),
            "eos_token_id": np.array([4, -1]),
            "logprobs": True,
        }
    )
    assert (found.temperature, found.top_k, found.eos_token_id, found.logprobs) == (0.5, 3, (4,), 0)
    assert parse_settings(keywords={"logprobs": False}).logprobs is None
