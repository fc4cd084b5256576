"""From a decoder's graph to a program: compiled, checked on texts, sealed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from QEfficient import program as programs
from QEfficient.backends.host import NARROW
from QEfficient.build.decoder_check import check_emulated, check_made, is_emulated
from QEfficient.build.described import described
from QEfficient.build.generation_files import write_generation_files
from QEfficient.build.layer_caches import with_layers
from QEfficient.build.weight_only import group_weights_stage
from QEfficient.cache import Cache
from QEfficient.records import MODEL, Json, OnnxModel, Program

if TYPE_CHECKING:
    from QEfficient.build.decoder_request import DecoderRequest
    from QEfficient.source.recipe import Recipe


def make_decoder(
    recipe: Recipe, request: DecoderRequest, model: OnnxModel, key: Mapping[str, Json], workdir: Path, cache: Cache
) -> None:
    """Writes the program into ``workdir`` and seals it.

    Args:
        recipe: Which model.
        request: What to compile it for.
        model: Its graph, with what its layers keep and what HuggingFace's model gave beside it.
        key: Every ingredient of the program's key.
        workdir: The program's folder.
        cache: Where a graph with weights of few bits is looked for and kept.

    Raises:
        VerificationError: A limit does not hold.
        CompileError: The backend refuses the graph.
    """
    facts, window = with_layers(model, request.decoder)
    shapes = request.shapes(model.inputs, window)
    emulated = is_emulated(request)
    verified = check_emulated(recipe, request, facts, model, shapes) if emulated else {}
    graph, weights = model, dict[str, Json]()
    if request.compute in NARROW:
        graph, weights = group_weights_stage(recipe, request, model, cache)
    made = request.backend.compile({MODEL: graph}, {MODEL: shapes}, request.target, request.options, workdir)
    if not emulated:
        verified = check_made(recipe, request, facts, model, made)
    manifest = described(made, recipe, request.text, model)
    has_tokenizer = manifest.text is not None and manifest.text.tokenizer is not None
    chats = has_tokenizer and not facts.has_encoder  # what reads sources has no chats
    write_generation_files(recipe.origin, workdir, chats=chats)
    manifest = dataclasses.replace(manifest, decoder=facts, key=key, verify=verified, weights=weights)
    programs.write(Program(workdir, manifest), {MODEL: graph})
