"""What HuggingFace's model gave for a graph's samples, kept beside the graph: a later check needs no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from QEfficient.numerics.check import Array
from QEfficient.numerics.verify import Reference, Sample

FILE = "reference.safetensors"
MOST_BYTES = 16 * 2**20  # of all kept samples; scores over a vocabulary are large


def save(folder: Path, references: Sequence[Reference]) -> None:
    """Writes samples and outputs to ``folder``; the smallest first, as many as :data:`MOST_BYTES` hold."""
    kept: dict[str, Array] = {}
    notes: list[dict[str, object]] = []
    for sample, outputs in sorted(references, key=_size):
        if notes and sum(array.nbytes for array in kept.values()) + _size((sample, outputs)) > MOST_BYTES:
            break
        kept |= {f"{len(notes)}.in.{name}": array for name, array in sample.inputs.items()}
        kept |= {f"{len(notes)}.out.{name}": array for name, array in outputs.items()}
        notes.append({"names": list(sample.names), "texts": sample.texts})
    whole = {name: np.ascontiguousarray(array) for name, array in kept.items()}  # else safetensors mixes up a view
    save_file(whole, folder / FILE, metadata={"samples": json.dumps(notes)})


def load(folder: Path) -> list[Reference]:
    """What :func:`save` wrote, the largest first: some graphs stay with what a first short row made them do."""
    with safe_open(folder / FILE, framework="numpy") as file:
        found: list[Reference] = []
        for index, note in enumerate(json.loads(file.metadata()["samples"])):
            sides: list[dict[str, Array]] = []
            for side in ("in", "out"):
                start = f"{index}.{side}."
                sides.append({key[len(start) :]: file.get_tensor(key) for key in file.keys() if key.startswith(start)})
            found.append((Sample(sides[0], tuple(note["names"]), note["texts"]), sides[1]))
    return found[::-1]


def _size(reference: Reference) -> int:
    sample, outputs = reference
    return sum(array.nbytes for array in (*sample.inputs.values(), *outputs.values()))
