"""What a backend does not know of a program: its model and its texts, with the files of these."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from QEfficient.build.tokenizer import write_recipe_tokenizer
from QEfficient.onnx_transforms import tables
from QEfficient.records import Json, Manifest, ModelFacts, OnnxModel, Program, TextFacts
from QEfficient.text.facts import copy_preprocessing
from QEfficient.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from QEfficient.source.recipe import Recipe

CONFIG_FILE = "config.json"


def described(
    made: Program, recipe: Recipe, text: TextFacts, model: OnnxModel, head: Sequence[Mapping[str, Json]] = ()
) -> Manifest:
    """Writes config and tokenizer into a program's folder; gives its manifest with what they say.

    Args:
        made: As the backend made it.
        recipe: Its model.
        text: Its text side.
        model: Its graph.
        head: What stands behind an encoder.
    """
    origin, config = recipe.origin, recipe.origin.config()
    (made.path / CONFIG_FILE).write_text(json.dumps(config, indent=1, default=str), encoding="utf-8")
    tokenizer = None
    if origin.folder is not None:
        tokenizer = write_recipe_tokenizer(recipe, origin.folder, made.path)
        copy_preprocessing(origin.folder, made.path)
    text = dataclasses.replace(text, tokenizer=tokenizer)
    width = model.outputs[0].shape[-1]
    return dataclasses.replace(
        made.manifest,
        text=text,
        tables=tables(model.path),
        tokens=None if tokenizer is None else Tokenizer.from_folder(made.path, text).size,
        model=ModelFacts(
            name=origin.name,
            model_class=origin.class_name(),
            model_type=str(config.get("model_type", "")),
            task=recipe.task.name,
            head=tuple(head),
            dim=width if isinstance(width, int) else None,
            config=CONFIG_FILE,
        ),
    )
