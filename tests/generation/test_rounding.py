"""4 bits rounded for what products read: which tensors these are, and what the rounded graph gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch

from QEfficient.backends import registry
from QEfficient.compress.compress_weights import SMALLEST
from QEfficient.compress.product_inputs import find_read, rows_read
from QEfficient.compress.rounding_texts import RoundingTexts
from QEfficient.compress.weight_only import WeightOnly, to_grouped
from QEfficient.numerics.decoder_steps import Steps
from QEfficient.onnx_transforms import read
from QEfficient.tasks.text_generation import DecoderForm
from tests.generation.test_few_bits import compiled, first_logits
from tests.generation.test_graph_tokens import prompt
from tests.generation.tiny_decoders import TYPES, own_logits, tiny_decoder

TEXTS = RoundingTexts(tuple(tuple(prompt(length, seed)) for seed, length in enumerate((40, 9, 61, 25, 33, 50))), 1)
KEPT = DecoderForm(True, True)


@pytest.fixture(scope="module")
def for_texts(graph_of, tmp_path_factory):
    """A tiny decoder's graph in 4 bits, rounded for texts, by its type."""
    made: dict[str, WeightOnly] = {}

    def of(model_type: str) -> WeightOnly:
        if model_type not in made:
            folder = tmp_path_factory.mktemp(model_type)
            (folder / "scratch").mkdir()
            graph = graph_of(model_type)
            made[model_type] = to_grouped(graph, 4, folder / "graph", texts=TEXTS, scratch=folder / "scratch")
        return made[model_type]

    return of


def read_by(graph: Any, folder: Any, **options: int) -> dict[str, np.ndarray]:
    folder.mkdir()
    found = find_read(graph.path)
    return {one.tensor: np.concatenate(rows) for one, rows in rows_read(graph, found, TEXTS.rows, folder, **options)}


def test_what_products_read_is_what_modules_do(graph_of, tmp_path):
    """Every linear layer of HuggingFace's model; padding, positions and what is joined do not matter."""
    graph, model, seen = graph_of("llama", KEPT), tiny_decoder("llama"), []
    rows = read_by(graph, tmp_path / "runs")
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    inputs: dict[Any, list[np.ndarray]] = {module: [] for module in linear}
    for module in linear:
        module.register_forward_hook(lambda one, given, _: inputs[one].append(given[0][0].detach().numpy()))
    for ids in TEXTS.rows:
        model(torch.tensor([list(ids)]))
    for found in inputs.values():
        wanted = np.concatenate(found)
        seen.append(
            [name for name, got in rows.items() if got.shape == wanted.shape and np.abs(got - wanted).max() < 1e-3]
        )
    assert all(seen) and {name for names in seen for name in names} == set(rows)
    stored = read(graph.path).graph.initializers
    weights = [name for one in find_read(graph.path) for name in one.weights]
    assert len(weights) == len(set(weights)) and sum(stored[name].const_value.size for name in weights) == sum(
        module.weight.numel() for module in linear if module.weight.numel() >= SMALLEST
    )


def test_what_is_held_at_once_does_not_matter(graph_of, tmp_path):
    runs: list[int] = []
    graph = graph_of("gpt2", KEPT)
    whole = read_by(graph, tmp_path / "whole")
    (tmp_path / "parts").mkdir()
    found = find_read(graph.path)
    parts = rows_read(graph, found, TEXTS.rows, tmp_path / "parts", runs.append, most_bytes=60_000)
    for one, rows in parts:
        np.testing.assert_allclose(np.concatenate(rows), whole[one.tensor], atol=1e-5)
    assert sum(runs) > 2 * len(TEXTS.rows)


@pytest.mark.parametrize("model_type", TYPES)
def test_every_type_can_be_rounded_for_texts(model_type, for_texts, tmp_path):
    made = for_texts(model_type)
    told = made.table()["rounding"]
    assert told["method"] == "gptq" and told["matrices"] > 0 and told["texts"] == len(TEXTS.rows)
    assert (told["tokens"], told["own_texts"], told["digest"]) == (TEXTS.tokens, 1, TEXTS.digest)
    found = []
    for backend in registry.HOSTS:
        with registry.get(backend).open(compiled(made.model, backend, "int4_weights", tmp_path / backend)) as session:
            found.append(first_logits(session))
    np.testing.assert_allclose(found[0], found[1], atol=2e-4 * float(np.abs(found[0]).max()))


@pytest.mark.parametrize("model_type", ["llama", "gpt2"])
def test_logits_are_nearer_than_those_of_the_nearest_codes(model_type, graph_of, for_texts, tmp_path):
    plain = to_grouped(graph_of(model_type), 4, tmp_path / "plain")
    steps = Steps([list(ids) for ids in TEXTS.rows[:3]], continuous=True, kept=None)
    model = tiny_decoder(model_type)
    wanted = [own_logits(model, ids) for ids in steps.sequences]
    off = []
    for made in (for_texts(model_type), plain):
        program = compiled(made.model, "onnxruntime", "int4_weights", tmp_path / str(len(off)))
        squares = []
        with registry.get("onnxruntime").open(program) as session:
            for number, parts in enumerate(steps.calls()):
                logits = session.run(steps.inputs(parts, number))["logits"]
                squares += [
                    float(np.square(logits[row, -1] - wanted[part.sequence][part.end - 1]).mean())
                    for part, row in zip(parts, steps.rows(parts), strict=True)
                ]
        off.append(float(np.mean(squares)))
    assert off[0] < 0.95 * off[1]


def test_the_same_texts_give_the_same_bytes(graph_of, for_texts, tmp_path):
    (tmp_path / "scratch").mkdir()
    again = to_grouped(graph_of("llama"), 4, tmp_path / "graph", texts=TEXTS, scratch=tmp_path / "scratch")
    assert again.model.digest == for_texts("llama").model.digest
    proto = onnx.load(again.model.path, load_external_data=False)
    assert {node.op_type for node in proto.graph.node} >= {"DequantizeLinear"}
    fewer = RoundingTexts(TEXTS.rows[:1])
    assert fewer.digest != TEXTS.digest != RoundingTexts(TEXTS.rows[::-1]).digest
