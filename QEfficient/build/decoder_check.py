"""The check of a decoder's ``compile``: it goes on with texts, and is compared with HuggingFace."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from QEfficient.backends import registry
from QEfficient.backends.base import Backend
from QEfficient.backends.card_options import MXINT8
from QEfficient.backends.host import NARROW
from QEfficient.build.check import EMULATED
from QEfficient.build.decoder_request import DecoderRequest
from QEfficient.cache import Cache
from QEfficient.generation.engine import Engine
from QEfficient.generation.perplexity import perplexity
from QEfficient.generation.session_decoder import SessionDecoder
from QEfficient.numerics import continuations
from QEfficient.numerics.continuations import Continuation
from QEfficient.numerics.emulate import computed_in, limits_name
from QEfficient.numerics.verify import LIMITS, WRITING_LIMITS, limits_for, refuse
from QEfficient.records import MODEL, DecoderFacts, Json, OnnxModel, Program, Shape, Target

if TYPE_CHECKING:
    from QEfficient.source.recipe import Recipe

EMULATOR = "emulator"


def is_emulated(request: DecoderRequest) -> bool:
    """Whether a program's arithmetic is checked before it is compiled, on the host: a card's is."""
    return request.backend.name not in (*registry.HOSTS, EMULATOR)


def check_emulated(
    recipe: Recipe, request: DecoderRequest, facts: DecoderFacts, model: OnnxModel, shapes: tuple[Shape, ...]
) -> dict[str, Json]:
    """What a card's program will compute, emulated, against HuggingFace; before a compiler works for minutes.

    Raises:
        VerificationError: A limit does not hold.
    """
    if recipe.verify == "off":
        return {"verify": "off"}
    kept = _kept(recipe, request, facts, model)
    emulator = registry.get(EMULATOR)
    target = Target(emulator.name, emulator.compute[0], request.cores, request.devices)
    with Cache().work_folder() as folder:
        made = emulator.compile({MODEL: model}, {MODEL: shapes}, target, request.options, folder)
        return _checked(recipe, request, facts, (emulator, made), kept)


def check_made(
    recipe: Recipe, request: DecoderRequest, facts: DecoderFacts, model: OnnxModel, made: Program
) -> dict[str, Json]:
    """What a host's program computes, against HuggingFace: the program itself is run.

    Raises:
        VerificationError: A limit does not hold.
    """
    if recipe.verify == "off":
        return {"verify": "off"}
    return _checked(recipe, request, facts, (request.backend, made), _kept(recipe, request, facts, model))


def _kept(recipe: Recipe, request: DecoderRequest, facts: DecoderFacts, model: OnnxModel) -> list[Continuation]:
    """What HuggingFace's model gave when the graph was exported, and for the caller's texts."""
    kept = continuations.load(model.path.parent)
    if request.texts or not kept:
        kept += _reference(recipe, request, facts)
        recipe.origin.release()
    return continuations.fitting(kept, facts)


def _reference(recipe: Recipe, request: DecoderRequest, facts: DecoderFacts) -> list[Continuation]:
    if facts.has_encoder:
        from QEfficient.build.seq2seq_reference import source_continuations  # torch

        return source_continuations(recipe, request.text, request.texts or None, facts.source_room)
    from QEfficient.build.decoder_reference import reference_continuations  # torch

    longest = max(1, facts.room - continuations.STEPS)
    return reference_continuations(recipe, request.text, request.texts or None, longest)


def _checked(
    recipe: Recipe,
    request: DecoderRequest,
    facts: DecoderFacts,
    opened: tuple[Backend, Program],
    kept: list[Continuation],
) -> dict[str, Json]:
    backend, program = opened
    target, name = program.manifest.target, recipe.origin.name
    precision = computed_in(request.options, target)
    coarsest = limits_name(precision, target)
    if request.options.flags.get(MXINT8) and coarsest == "fp16":
        coarsest = "mxint8"
    table = WRITING_LIMITS if coarsest in NARROW else LIMITS
    limits = limits_for(coarsest, request.limits, routed=recipe.architecture.routed, table=table)
    where = EMULATED if is_emulated(request) or backend.name == EMULATOR else f"{target.compute} on {backend.name}"
    with closing(SessionDecoder(backend.open(program), facts)) as decoder:
        result, tokens = continuations.compare(kept, decoder, limits, name, where)
        found = _perplexities(kept, decoder) if target.compute in NARROW else {}
    if found:
        result = dataclasses.replace(result, perplexity_change=found["change"])
    more = "" if tokens.first is None else f"The first token that differs: {tokens.first}."
    refuse(result, name, more, "pass looser limits={…}, or another backend or precision")
    return continuations.to_json(result, tokens) | ({"perplexity": found} if found else {})


def _perplexities(kept: Sequence[Continuation], decoder: SessionDecoder) -> dict[str, float]:
    """How well HuggingFace's model predicts the prompts that both have read, and how well the program does."""
    told = [
        (one.prompt, one.loss) for one in kept if one.loss is not None and 1 < len(one.prompt) <= decoder.facts.room
    ]
    if not told or decoder.facts.encoder_ctx_len is not None:
        return {}
    texts = [prompt for prompt, _ in told]
    count = sum(len(prompt) - 1 for prompt in texts)
    wanted = math.exp(sum(loss for _, loss in told) / count)
    got = perplexity(Engine(decoder), texts).value
    return {"tokens": count, "huggingface": wanted, "program": got, "change": got / wanted - 1}
