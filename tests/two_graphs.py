"""A toy task with two graphs: an encoder of ids, and a decoder that looks at its states and at a cache.

Its dims are those of a real one: beside batch and length, the decoder has the length of its cache and that of the
source, which the encoder computes from its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from QEfficient.backends.base import Arrays, Backend
from QEfficient.build.graph_stage import graph_stage
from QEfficient.cache import Cache, library_versions, to_json
from QEfficient.export.exporter import traced
from QEfficient.onnx_transforms import finish
from QEfficient.program import load, write
from QEfficient.records import OnnxModel, Program, Shape, Target, TensorSpec

NAME, WORDS, WIDE = "toy/two-graphs", 50, 8
SHAPES = {
    "encoder": (Shape(8, 1), Shape(8, 3)),
    "decoder": (
        Shape(1, 3, {"ctx_len": 16, "source_len": 4}),
        Shape(1, 3, {"ctx_len": 32, "source_len": 4}),
        Shape(4, 1, {"ctx_len": 16, "source_len": 4}),
    ),
}
IDS = TensorSpec("input_ids", "int64", ("batch_size", "seq_len"))
STATES = TensorSpec("states", "float32", ("batch_size", "source_len", WIDE))
PAST = TensorSpec("past_key", "float32", ("batch_size", "ctx_len", WIDE))
INPUTS = {"encoder": (IDS,), "decoder": (IDS, STATES, PAST)}
OUTPUTS: dict[str, tuple[str | TensorSpec, ...]] = {"encoder": (STATES,), "decoder": ("logits", "next_key")}


class Encoder(nn.Module):
    """A state for every second token."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.mix = nn.Embedding(WORDS, WIDE), nn.Linear(WIDE, WIDE)

    def forward(self, input_ids: Tensor) -> Tensor:
        mixed: Tensor = self.mix(self.table(input_ids))[:, ::2].tanh()
        return mixed


class Decoder(nn.Module):
    """Logits of each token, from the source's states and the cache; and the cache, moved on."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(WORDS, WIDE), nn.Linear(WIDE, WORDS)

    def forward(self, input_ids: Tensor, states: Tensor, past_key: Tensor) -> tuple[Tensor, Tensor]:
        asked = self.table(input_ids)
        seen = [(asked @ keys.mT).softmax(-1) @ keys for keys in (states, past_key)]
        return self.head(asked + seen[0] + seen[1]), past_key * 0.5


def modules() -> dict[str, nn.Module]:
    """The same weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {"encoder": Encoder().eval(), "decoder": Decoder().eval()}


def graphs(cache: Cache, exported: list[str]) -> dict[str, OnnxModel]:
    """Each graph from the cache; ``exported`` gets the names of those that were made now."""

    def made(name: str, workdir: Path) -> OnnxModel:
        exported.append(name)
        with traced(modules()[name], inputs=INPUTS[name], outputs=OUTPUTS[name]) as graph:
            return finish(graph, workdir)

    return {
        name: graph_stage(NAME, {"toy": 1, "graph": name}, lambda workdir, name=name: made(name, workdir), cache)
        for name in INPUTS
    }


def compiled(backend: Backend, found: Mapping[str, OnnxModel], cache: Cache) -> Program:
    """The program of both graphs, from the cache or compiled now."""
    target = Target(backend.name, backend.compute[0], cores=4)
    key = {
        "graphs": {name: {"digest": graph.digest, "shapes": SHAPES[name]} for name, graph in found.items()},
        "target": target,
        "backend_version": backend.version(),
    }

    def build(workdir: Path) -> None:
        made = backend.compile(found, SHAPES, target, backend.parse_options({}), workdir)
        manifest = replace(made.manifest, key=to_json(key), versions=library_versions())
        write(Program(made.path, manifest), found)

    path, _ = cache.get_or_build(NAME, "program", key, build)
    return load(path)


def feed(name: str, shape: Shape) -> Arrays:
    """Arrays of one shape."""
    random = np.random.default_rng(shape.batch + shape.length)
    arrays: Arrays = {}
    for spec in INPUTS[name]:
        size = spec.at(shape)
        arrays[spec.name] = (
            random.integers(0, WORDS, size) if spec.dtype == "int64" else random.normal(size=size).astype(np.float32)
        )
    return arrays


def expected(name: str, arrays: Arrays) -> list[np.ndarray]:
    """What torch computes."""
    with torch.no_grad():
        found = modules()[name](**{key: torch.from_numpy(array) for key, array in arrays.items()})
    return [one.numpy() for one in (found if isinstance(found, tuple) else (found,))]
