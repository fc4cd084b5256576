"""Quantizing of an Auto object that writes text: another one on the same weights, stored in few bits, once measured.

A program is made aside, measured as ``compile`` measures any, and only then put into the cache with the step that says
what came of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from QEfficient import arguments
from QEfficient.auto.compression.quantized import Quantized, refuse_quantized
from QEfficient.auto.copies import copied
from QEfficient.backends.host import NARROW
from QEfficient.build.decoder_stage import decoder_stage
from QEfficient.cache import Cache, to_json, trial_cache
from QEfficient.compress.record import CARD_FORM, CompressionStep
from QEfficient.errors import NotYetSupportedError, VerificationError
from QEfficient.evaluate.data.digest import digest_of
from QEfficient.records import Json, Program

if TYPE_CHECKING:
    from QEfficient.auto.decoder_road import DecoderRoad

Model = TypeVar("Model", bound="DecoderRoad")

_GENTLER: Mapping[str, str] = {
    "int4_weights_int8": 'quantize to "int4_weights" or "int8_weights"',
    "int4_weights": 'quantize to "int8_weights"',
    "int8_weights_int8": 'quantize to "int8_weights"',
    "int8_weights": "leave the model in fp32",
}


def quantize_decoder(
    model: Model,
    to: str,
    texts: Iterable[str] | None,
    backend: str | None,
    limits: Any,
    options: Mapping[str, Any],
) -> Model:
    """Compiles the model to weights of few bits, and gives it as another object; see ``DecoderRoad.quantize``."""
    if to in ("int8", CARD_FORM):
        raise NotYetSupportedError(
            f"quantize to {to!r} is not built for models that write text.",
            got=f"to={to!r}",
            allowed=", ".join(map(repr, NARROW)),
            do="compile(mxfp6_matmul=True, mxint8_kv_cache=True) makes a card's program smaller",
        )
    arguments.one_of("to", to, [*NARROW])
    refuse_quantized(model._quantized, to)
    model._need_origin("quantize")
    named = arguments.optional_strings("texts", texts)
    asked = Quantized(to, {"backend": backend, "texts": named or None, "limits": limits, "compute": to}, ())
    made = copied(model)
    made._loaded = made._onnx_path = None
    made._quantized = asked
    road: Any = type(model)  # CausalRoad or Seq2SeqRoad: each has its own compile
    given = inspect.signature(road.compile).bind(made, **options)
    given.apply_defaults()
    further = given.arguments.pop("compiler_options")
    filled = asked.filled_in(given.arguments)
    cache = Cache()
    with model._lock, trial_cache(cache) as aside:
        recipe, request = made._asked(filled, further)
        try:
            program = decoder_stage(recipe, request, aside)
        except VerificationError as error:
            error.do = f"{_GENTLER[to]}, or pass looser limits={{…}}"
            raise
        step = CompressionStep(
            "quantize",
            {"to": to, "backend": request.backend.name, "limits": to_json(request.limits)},
            {"bytes": sum(file.size for file in program.manifest.files.values()), **report_of(program)},
            {"texts": {"rows": len(named), "digest": digest_of({"text": named})}} if named else {},
            told=f"quantized to {to}",
        ).to_dict()
        cache.adopt(aside, "onnx")
        kept = decoder_stage(recipe, request, cache, [step], made=program)
        made._quantized = replace(asked, steps=(step,))
        made._keep_program(kept, request.backend, request.reason, filled)
    return made


def report_of(program: Program) -> dict[str, Json]:
    """What was measured of a program with weights of few bits: bytes, tokens and perplexity."""
    weights, verified = program.manifest.weights, program.manifest.verify
    found = {name: weights[name] for name in ("bytes_before", "bytes_after") if name in weights}
    found |= {name: verified[name] for name in ("label_agreement", "tokens", "perplexity") if name in verified}
    return found
