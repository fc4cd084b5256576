"""What the layers of a decoder's graph keep, in a file beside it: a later compile does not load the model to know."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from QEfficient.records import Caches, DecoderFacts, OnnxModel

FILE = "caches.json"


def save_caches(folder: Path, caches: Caches) -> None:
    """Writes the file beside a graph."""
    kept = [dataclasses.asdict(layer) for layer in caches]
    (folder / FILE).write_text(json.dumps(kept, indent=1), encoding="utf-8")


def with_layers(model: OnnxModel, facts: DecoderFacts) -> tuple[DecoderFacts, int | None]:
    """The facts, with whether a slot can go back; and how many positions a layer keeps that does not keep all.

    These are its window, and as many more as tokens may be speculated: one that is not chosen was written over the
    position that many before it, which the next token then still has.

    Args:
        model: The graph.
        facts: What it is compiled for.
    """
    layers = json.loads((model.path.parent / FILE).read_text(encoding="utf-8"))
    windows = [int(layer["window"]) for layer in layers if layer["ring"]]
    if not windows:
        return facts, None
    return dataclasses.replace(facts, rewinds=False), max(windows) + facts.kept_logits - 1
