"""Beams equal those of transformers: sequences, scores, and where each token went on from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from QEfficient.generation.settings_reading import parse_settings
from QEfficient.generation.strategies import Hooks, strategies
from tests.generation.transformers_generation import VOCABULARY, follow, ours, theirs, tiny_decoder

PAD = 1


def prompt_of(seed: int) -> list[int]:
    random = np.random.default_rng(seed)
    return random.integers(0, VOCABULARY, random.integers(1, 9)).tolist()


def compare(seed: int, **parameters: Any) -> None:
    prompt, model = prompt_of(seed), tiny_decoder(seed % 4)
    found, expected = ours(model, prompt, **parameters), theirs(model, prompt, pad_token_id=PAD, **parameters)
    assert len(found) == len(expected.sequences)
    for place, answer in enumerate(found):
        sequence = expected.sequences[place].tolist()[len(prompt) :]
        rows = expected.beam_indices[place].tolist()
        assert list(answer.ids) == sequence[: len(answer.ids)]
        assert set(sequence[len(answer.ids) :]) <= {PAD}
        assert list(answer.beam_indices) == rows[: len(answer.ids)] and set(rows[len(answer.ids) :]) <= {-1}
        assert answer.score == pytest.approx(float(expected.sequences_scores[place]), abs=1e-4)
        ends = parameters.get("eos_token_id", [])
        ends = ends if isinstance(ends, list) else [ends]
        assert answer.reason == ("stop" if answer.ids[-1] in ends else "length")


CASES = [
    {},
    {"length_penalty": 2.0},
    {"length_penalty": 0.0},
    {"length_penalty": -1.0},
    {"early_stopping": True},
    {"early_stopping": True, "length_penalty": 0.6},
    {"early_stopping": "never"},
    {"early_stopping": "never", "length_penalty": 0.5},
    {"early_stopping": "never", "length_penalty": -0.5},
    {"no_repeat_ngram_size": 2},
    {"repetition_penalty": 1.4, "no_repeat_ngram_size": 3, "early_stopping": True},
    {"min_new_tokens": 4, "renormalize_logits": True},
    {"bad_words_ids": [[3], [4, 5]], "forced_eos_token_id": 7},
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("num_beams", [4, 6])
@pytest.mark.parametrize("ends", [None, 7, [7, 2, 11]], ids=str)
def test_beam_search(case: dict[str, Any], num_beams: int, ends: Any) -> None:
    end = {} if ends is None else {"eos_token_id": ends}
    for seed in (CASES.index(case), CASES.index(case) + 20):
        many = (1, 2, num_beams)[seed % 3]
        compare(seed, num_beams=num_beams, num_return_sequences=many, max_new_tokens=10, **end, **case)


@pytest.mark.parametrize("early_stopping", [True, False, "never"])
def test_many_prompts(early_stopping: Any) -> None:
    for seed in range(24):
        few = [seed % VOCABULARY, (seed * 7) % VOCABULARY]
        compare(
            seed,
            num_beams=3,
            num_return_sequences=3,
            early_stopping=early_stopping,
            length_penalty=(-1.0, 0.0, 0.5, 2.0)[seed % 4],
            eos_token_id=few if seed % 3 else list(range(seed % 2, VOCABULARY, 2)),
            max_new_tokens=3 + seed % 12,
        )


def test_one_beam_is_greedy() -> None:
    for seed in range(8):
        prompt, model = prompt_of(seed), tiny_decoder(seed % 4)
        (answer,) = ours(model, prompt, max_new_tokens=9, eos_token_id=[5], num_beams=1)
        expected = theirs(model, prompt, max_new_tokens=9, eos_token_id=[5], pad_token_id=PAD, num_beams=1)
        assert list(answer.ids) == expected.sequences[0].tolist()[len(prompt) :]


CUTS = [{"top_k": 0}, {"temperature": 0.6}, {"top_k": 8, "top_p": 0.9}, {"typical_p": 0.8, "repetition_penalty": 1.2}]


@pytest.mark.parametrize("case", CUTS, ids=str)
@pytest.mark.parametrize("ends", [None, [7, 2]], ids=str)
def test_beam_sampling_with_the_same_random_numbers(
    case: dict[str, Any], ends: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from QEfficient.generation.sampler import random_numbers

    end = {} if ends is None else {"eos_token_id": ends}
    for seed in range(4):
        random = random_numbers(seed, 0)

        def multinomial(probs: torch.Tensor, num_samples: int, random: Any = random) -> torch.Tensor:
            noisy = torch.log(probs[0].double()).numpy() + random.gumbel(size=probs.shape[1])
            return torch.from_numpy(np.argsort(-noisy, kind="stable")[:num_samples].copy())[None]

        monkeypatch.setattr(torch, "multinomial", multinomial)
        prompt, model = prompt_of(seed), tiny_decoder(seed % 4)
        same = {"do_sample": True, "num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 8, **end, **case}
        expected = theirs(model, prompt, pad_token_id=PAD, **same)
        for place, answer in enumerate(ours(model, prompt, seed=seed, **same)):
            assert list(answer.ids) == expected.sequences[place].tolist()[len(prompt) :][: len(answer.ids)]
            assert answer.score == pytest.approx(float(expected.sequences_scores[place]), abs=1e-4)


def test_scores_and_logits_are_those_of_all_beams() -> None:
    prompt, model = prompt_of(5), tiny_decoder(1)
    asked = {"num_beams": 3, "max_new_tokens": 6, "no_repeat_ngram_size": 2}
    kept = {"output_scores": True, "output_logits": True, "return_dict_in_generate": True}
    (answer,) = ours(model, prompt, **asked, **kept, logprobs=2)
    expected = theirs(model, prompt, **asked)
    assert len(answer.scores) == len(expected.scores) and len(answer.logits) == len(expected.logits)
    for mine, their in zip([*answer.scores, *answer.logits], [*expected.scores, *expected.logits], strict=True):
        np.testing.assert_allclose(mine, their.numpy(), atol=1e-5)
    for step, (row, token) in enumerate(zip(answer.beam_indices, answer.ids, strict=True)):
        raw = torch.log_softmax(torch.from_numpy(answer.logits[step][row]), -1)
        assert answer.logprobs[step] == pytest.approx(float(raw[token]), abs=1e-5)
        assert list(answer.top_logprobs[step]) == raw.topk(2).indices.tolist()


def test_a_stop_hook_ends_a_beam_behind_its_token() -> None:
    prompt, model = prompt_of(2), tiny_decoder(0)
    asked = {"num_beams": 4, "num_return_sequences": 4, "max_new_tokens": 8, "early_stopping": True}
    stops = Hooks(stops=[lambda ids: len(ids) > 1 and (ids[-1] + ids[-2]) % 3 == 0])
    for answer in ours(model, prompt, stops, **asked):
        hits = [n for n in range(1, len(answer.ids)) if (answer.ids[n] + answer.ids[n - 1]) % 3 == 0]
        assert hits == ([len(answer.ids) - 1] if answer.reason == "stop" else [])


def test_what_is_ended_from_outside_gives_the_best_so_far() -> None:
    prompt, model = prompt_of(3), tiny_decoder(2)
    asked = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 9}
    (strategy,) = strategies(parse_settings(keywords=asked), prompt, 9, VOCABULARY)
    assert strategy.answers("cancelled") == ()
    random = np.random.default_rng(0)
    strategy.advance(random.normal(size=(1, VOCABULARY)).astype(np.float32))
    step = strategy.advance(random.normal(size=(3, VOCABULARY)).astype(np.float32))
    best, second = strategy.answers("cancelled")
    assert (best.reason, len(best.ids), best.ids[-1]) == ("cancelled", 2, step.tokens[0])
    assert best.score is not None and second.score is not None and best.score >= second.score
    assert len(follow(model, strategies(parse_settings(keywords=asked), prompt, 9, VOCABULARY)[0], prompt)) == 2


def test_never_reckons_with_the_length_so_far_where_short_ones_score_better() -> None:
    asked = {"num_beams": 2, "early_stopping": "never", "length_penalty": -1.0, "eos_token_id": 0}
    (strategy,) = strategies(parse_settings(keywords=asked), [1], 10, 4)
    strategy.advance(np.log(np.array([[0.3, 0.49, 0.2, 0.01]], np.float32)))
    step = strategy.advance(np.log(np.array([[0.2, 0.78, 0.01, 0.01], [0.1, 0.3, 0.3, 0.3]], np.float32)))
    # Two have ended, the worse with 2 · ln(0.49 · 0.2); the best that runs has 2 · ln(0.49 · 0.78), at length 10 less.
    assert step.done is None
