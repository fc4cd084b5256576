"""The graphs of all types give transformers' tokens, whatever the chunks and slots."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.generation.tiny_decoders import TYPES, VOCAB, WINDOW, Bare, greedy, own_logits, tiny_decoder

NEW = 12


def prompt(length: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, VOCAB, length).tolist()


def written(bare: Bare, slot: int, ids: list[int], chunk: int, count: int = NEW) -> list[int]:
    """Greedy tokens behind a prompt that is read in chunks."""
    for start in range(0, len(ids), chunk):
        part = ids[start : start + chunk]
        logits = bare.step([(slot, part, start)])
    tokens = [int(logits[0, 0].argmax())]
    while len(tokens) < count:
        logits = bare.step([(slot, tokens[-1:], len(ids) + len(tokens) - 1)])
        tokens.append(int(logits[0, 0].argmax()))
    return tokens


@pytest.mark.parametrize("model_type", TYPES)
def test_every_chunk_length_gives_the_tokens_of_transformers(model_type, graph_of):
    graph, model, ids = graph_of(model_type), tiny_decoder(model_type), prompt(37)
    assert len(ids) > 4 * WINDOW
    onnx.checker.check_model(str(graph.path), full_check=True)
    wanted = greedy(model, ids, NEW)
    for slot, chunk in ((2, 1), (0, 7), (3, 32)):
        assert written(Bare(graph, 5), slot, ids, chunk) == wanted, chunk


@pytest.mark.parametrize("model_type", TYPES)
def test_rows_beside_one_another_keep_to_themselves(model_type, graph_of):
    """Four sequences of mixed lengths in slots out of order, an idle row among them, from caches full of NaN."""
    graph, model = graph_of(model_type), tiny_decoder(model_type)
    prompts = {3: prompt(31, 1), 0: prompt(5, 2), 4: prompt(18, 3), 1: prompt(9, 4)}
    bare = Bare(graph, 6)
    rows = [(slot, ids, 0) for slot, ids in prompts.items()]
    logits = bare.step([*rows, (-1, [], 0)])
    chosen = {slot: [int(logits[row, 0].argmax())] for row, slot in enumerate(prompts)}
    for step in range(NEW - 1):
        order = list(prompts)[step % 4 :] + list(prompts)[: step % 4]
        rows = [(slot, chosen[slot][-1:], len(prompts[slot]) + step) for slot in order]
        logits = bare.step([*rows[:2], (-1, [], 0), *rows[2:]])
        for row, slot in zip((0, 1, 3, 4), order, strict=True):
            chosen[slot].append(int(logits[row, 0].argmax()))
    assert chosen == {slot: greedy(model, ids, NEW) for slot, ids in prompts.items()}


@pytest.mark.parametrize("model_type", ["llama", "gemma3_text"])
def test_logits_are_those_of_transformers(model_type, graph_of):
    ids = prompt(60, 5)
    wanted, bare = own_logits(tiny_decoder(model_type), ids), Bare(graph_of(model_type), 3)
    at = 0
    for width in (3, 1, 20, 9, 27):  # longer than the window, and from its middle on
        logits = bare.step([(1, ids[at : at + width], at)])
        at += width
        np.testing.assert_allclose(logits[0, 0], wanted[at - 1], atol=1e-4)
