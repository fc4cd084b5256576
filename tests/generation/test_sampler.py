"""One sequence: greedy and drawn tokens, seeds, ends, and what comes back beside the tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from QEfficient.errors import OptionError, UsageError
from QEfficient.generation.sampler import draw, random_numbers
from QEfficient.generation.sampling.chain import Candidates, Place, chain
from QEfficient.generation.settings_reading import parse_settings
from QEfficient.generation.stopping import Ending
from QEfficient.generation.strategies import Hooks, strategies
from tests.generation.transformers_generation import VOCABULARY, follow, ours, theirs, tiny_decoder

PROMPT = [3, 9, 14, 3]
PROCESSED = [
    {},
    {"repetition_penalty": 1.3},
    {"no_repeat_ngram_size": 2},
    {"encoder_repetition_penalty": 1.5, "encoder_no_repeat_ngram_size": 2},
    {"min_new_tokens": 6, "eos_token_id": list(range(0, VOCABULARY, 2))},
    {"eos_token_id": [5, 8, 11, 17]},
    {"forced_eos_token_id": 4, "suppress_tokens": [1, 2]},
    {"exponential_decay_length_penalty": (2, 1.4), "eos_token_id": 6},
]
DRAWN = [{"top_k": 0}, {"temperature": 0.7, "top_p": 0.9}, {"top_k": 5, "min_p": 0.05}, {"typical_p": 0.7, "top_k": 0}]


@pytest.mark.parametrize("parameters", PROCESSED, ids=str)
def test_greedy_is_transformers(parameters: dict[str, Any]) -> None:
    for seed in range(2):
        model = tiny_decoder(seed)
        kept = {"output_scores": True, "output_logits": True, "return_dict_in_generate": True}
        (answer,) = ours(model, PROMPT, max_new_tokens=12, **kept, **parameters)
        expected = theirs(model, PROMPT, max_new_tokens=12, pad_token_id=1, **parameters)
        assert list(answer.ids) == expected.sequences[0].tolist()[len(PROMPT) :]
        assert answer.reason == ("stop" if len(answer.ids) < 12 or parameters.get("eos_token_id") == 4 else "length")
        for mine, their in zip([*answer.scores, *answer.logits], [*expected.scores, *expected.logits], strict=True):
            np.testing.assert_allclose(mine, their[0].numpy(), atol=1e-5)


@pytest.mark.parametrize("parameters", DRAWN, ids=str)
def test_drawing_is_transformers_with_the_same_random_numbers(
    parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_decoder(1)
    for seed in range(3):
        random = random_numbers(seed, 0)

        def multinomial(probs: torch.Tensor, num_samples: int, random: Any = random) -> torch.Tensor:
            sums = probs[0].double().cumsum(0)
            return torch.searchsorted(sums, float(sums[-1]) * torch.tensor([[random.random()]]).double(), right=True)

        monkeypatch.setattr(torch, "multinomial", multinomial)
        asked = {"do_sample": True, "max_new_tokens": 15, "repetition_penalty": 1.1, **parameters}
        (answer,) = ours(model, PROMPT, seed=seed, **asked)
        assert list(answer.ids) == theirs(model, PROMPT, **asked).sequences[0].tolist()[len(PROMPT) :]


@pytest.mark.parametrize("parameters", [{"top_k": 0}, {"temperature": 1.6, "top_k": 12, "top_p": 0.9}], ids=str)
def test_draws_have_the_probabilities(parameters: dict[str, Any]) -> None:
    logits = np.random.default_rng(4).normal(size=40).astype(np.float32) * np.float32(1.5)
    steps = chain(parse_settings(keywords={"do_sample": True, **parameters}), Place(1, 9, 40))
    left = steps.candidates(np.array([1]), logits)
    random, count = random_numbers(11, 0), 100_000
    found = np.bincount([draw(left, uniform) for uniform in random.random(count)], minlength=40)
    expected = torch.softmax(torch.from_numpy(steps.row(np.array([1]), logits)).double(), -1).numpy()
    assert not found[expected == 0].any()
    assert chisquare(found[expected > 0], expected[expected > 0] * count).pvalue > 1e-3


def test_a_wrong_distribution_would_be_found() -> None:
    left = Candidates(np.arange(4), np.log(np.array([0.4, 0.3, 0.2, 0.1], np.float32)))
    found = np.bincount([draw(left, uniform) for uniform in random_numbers(1, 0).random(100_000)])
    assert chisquare(found, np.array([0.39, 0.31, 0.2, 0.1]) * 100_000).pvalue < 1e-3


def test_the_ends_of_the_interval_draw_tokens_that_can_be() -> None:
    left = Candidates(np.array([2, 5, 7, 9]), np.array([-2000, 0, 0, -2000], np.float32))
    assert [draw(left, uniform) for uniform in (0.0, 0.49, 0.51, np.nextafter(1.0, 0), 1.0)] == [5, 5, 7, 7, 7]


def test_a_seed_gives_one_text_and_each_sequence_its_own() -> None:
    model, asked = tiny_decoder(2), {"do_sample": True, "top_k": 0, "max_new_tokens": 12}
    alone = ours(model, PROMPT, seed=5, **asked)
    many = ours(model, PROMPT, seed=5, num_return_sequences=4, **asked)
    assert many[0] == alone[0] and len({answer.ids for answer in many}) == 4
    assert many == ours(model, PROMPT, seed=5, num_return_sequences=4, **asked)
    assert ours(model, PROMPT, seed=6, **asked)[0].ids != alone[0].ids
    assert ours(model, PROMPT, seed=-1, **asked) == ours(model, PROMPT, seed=2**64 - 1, **asked)
    assert ours(model, PROMPT, **asked)[0].ids != ours(model, PROMPT, **asked)[0].ids


def test_a_neighbour_changes_nothing() -> None:
    model, settings = tiny_decoder(2), parse_settings(keywords={"do_sample": True, "seed": 5, "top_k": 0})
    (alone,) = strategies(settings, PROMPT, 9, VOCABULARY)
    (one,), (other,) = strategies(settings, PROMPT, 9, VOCABULARY), strategies(settings, [1, 2], 9, VOCABULARY)
    ids = list(PROMPT)
    for _ in range(9):
        with torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[:, -1].numpy()
        other.advance(logits[:, ::-1])
        ids += one.advance(logits).tokens
    assert tuple(ids[len(PROMPT) :]) == follow(model, alone, PROMPT)[0].ids


def test_log_probabilities_are_of_the_raw_logits() -> None:
    (strategy,) = strategies(
        parse_settings(keywords={"do_sample": True, "temperature": 0.1, "suppress_tokens": [2], "logprobs": 2}),
        [1],
        3,
        4,
    )
    logits = np.array([[0, 1, 3, 2]], np.float32)
    token = strategy.advance(logits).tokens[0]
    (answer,) = strategy.answers("cancelled")
    expected = torch.log_softmax(torch.from_numpy(logits[0]), -1).tolist()
    assert answer.logprobs == pytest.approx([expected[token]])
    assert list(answer.top_logprobs[0]) == [2, 3]
    assert answer.top_logprobs[0][2] == pytest.approx(expected[2])
    assert (answer.reason, answer.scores, answer.logits) == ("cancelled", (), ())


def test_what_is_recorded_is_a_copy() -> None:
    kept = {"output_scores": True, "output_logits": True, "return_dict_in_generate": True}
    (strategy,) = strategies(parse_settings(keywords=kept), [1], 2, 3)
    logits = np.array([[0, 1, 2]], np.float32)
    for _ in range(2):
        strategy.advance(logits)
        logits[:] = 7
    (answer,) = strategy.answers()
    assert answer.scores[0].tolist() == answer.logits[0].tolist() == [0, 1, 2]


def test_stop_hooks_see_new_ids_only_and_end_behind_the_token() -> None:
    seen: list[list[int]] = []

    def stop(ids: Any) -> bool:
        seen.append(ids.tolist())
        return len(ids) == 3

    (answer,) = ours(tiny_decoder(0), PROMPT, Hooks(stops=[stop]), max_new_tokens=9)
    assert (len(answer.ids), answer.reason) == (3, "stop")
    assert seen == [list(answer.ids[:n]) for n in (1, 2, 3)]


def test_time_ends_a_sequence_behind_the_next_token() -> None:
    now = 10.0
    ending = Ending(frozenset(), 100, deadline=11.0, clock=lambda: now)
    assert ending.reason(np.array([1])) is None
    now = 11.5
    assert ending.reason(np.array([1, 2])) == "length"
    assert Ending.of(parse_settings(keywords={"max_time": 1e-9}), 5).reason(np.array([1])) == "length"


def test_a_callers_processor_stands_before_temperature_and_filters() -> None:
    def flat(ids: Any, logits: Any) -> Any:
        assert ids.tolist() == [1, 2]
        return np.array([5, 4, 3, 2], np.float32)

    asked = {"do_sample": True, "top_k": 2, "temperature": 2.0, "output_scores": True, "return_dict_in_generate": True}
    (strategy,) = strategies(parse_settings(keywords=asked), [1, 2], 3, 4, Hooks(extra=[flat]))
    strategy.advance(np.zeros((1, 4), np.float32))
    assert strategy.answers()[0].scores[0].tolist() == [2.5, 2.0, -np.inf, -np.inf]


def test_allowed_tokens_are_transformers_prefix_function() -> None:
    model = tiny_decoder(1)

    def allowed(ids: Any) -> list[int]:
        return [int(ids[-1]), (int(ids[-1]) + 5) % VOCABULARY, 2]

    (answer,) = ours(model, PROMPT, Hooks(allowed=allowed), max_new_tokens=8)
    expected = theirs(model, PROMPT, max_new_tokens=8, prefix_allowed_tokens_fn=lambda row, ids: allowed(ids))
    assert list(answer.ids) == expected.sequences[0].tolist()[len(PROMPT) :]


def test_the_first_of_equal_tokens_is_taken() -> None:
    (strategy,) = strategies(parse_settings(), [1], 2, 4)
    assert strategy.advance(np.array([[1, 3, 3, 0]], np.float32)).tokens == (1,)


@pytest.mark.parametrize(
    "named",
    [
        {"logit_bias": {30: 1.0}},
        {"sequence_bias": {(1, 30): 1.0}},
        {"bad_words_ids": [[30]]},
        {"forced_bos_token_id": 30},
        {"forced_eos_token_id": [1, 30]},
    ],
    ids=str,
)
def test_tokens_outside_of_the_vocabulary_are_refused(named: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"(?s)30.*0 to 22"):
        strategies(parse_settings(keywords=named), [1], 5, VOCABULARY)


def test_stop_strings_without_a_tokenizer_are_refused() -> None:
    with pytest.raises(UsageError, match="tokenizer"):
        strategies(parse_settings(keywords={"stop_strings": "END"}), [1], 5, VOCABULARY)
