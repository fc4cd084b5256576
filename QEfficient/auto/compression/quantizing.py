"""Quantizing of an Auto object: another one on the same weights that compiles to smaller numbers, once it was measured.

A program is made aside, measured, and only then put into the cache. The object that it was made from stays as it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from QEfficient import arguments
from QEfficient.auto.compression.guarding import check_measured, drops_between_models, rows_as_json
from QEfficient.auto.compression.quantized import Quantized, refuse_quantized
from QEfficient.auto.copies import copied
from QEfficient.auto.encoder_road import EncoderRoad
from QEfficient.auto.evaluations import Evaluations
from QEfficient.auto.training import check_score
from QEfficient.build.program_stage import compile_stage
from QEfficient.build.request import CompileRequest
from QEfficient.cache import Cache, to_json, trial_cache
from QEfficient.compress.guard import Drop, Guard, parse_guard
from QEfficient.compress.record import CARD_FORM, CompressionStep
from QEfficient.errors import InputError, VerificationError
from QEfficient.evaluate.data import read_examples
from QEfficient.evaluate.data.digest import digest_of
from QEfficient.evaluate.record import Examples
from QEfficient.records import Json

if TYPE_CHECKING:
    from QEfficient.auto.base import QEFFTransformersBase

Model = TypeVar("Model", bound="QEFFTransformersBase")

FORMS: Mapping[str, Mapping[str, Json]] = MappingProxyType(
    {
        "int8": {"compute": "int8"},
        "int8_weights": {"compute": "int8_weights"},
        "int4_weights": {"compute": "int4_weights"},
        CARD_FORM: {"mxfp6_matmul": True},
    }
)
"""What a model may be quantized to → the keywords of ``compile`` that do it."""

_PREVIEW = "emulator"
"""Where what is meant for the card is measured."""

_GENTLER: Mapping[str, str] = MappingProxyType(
    {
        "int8": 'quantize to "int8_weights", or pass texts= such as the model will be given',
        "int8_weights": "leave the model in fp32, or allow a larger drop",
        "int4_weights": 'quantize to "int8_weights"',
        CARD_FORM: "compile for the card in fp16, without mxfp6_matmul",
    }
)


@dataclass(frozen=True, slots=True)
class MeasuredOn:
    """On what a model is measured before and after.

    Attributes:
        held_out: Rows with answers, or ``None``.
        score: The caller's function, in their place.
        guard: What it may cost.
    """

    held_out: Examples | None
    score: Callable[[Any], float] | None
    guard: Guard | None

    @property
    def asks(self) -> bool:
        """Whether anything is measured."""
        return self.held_out is not None or self.score is not None


@dataclass(frozen=True, slots=True)
class QuantizeArgs:
    """The arguments of ``quantize``.

    Attributes:
        to: A name of :data:`FORMS`.
        texts: What int8 is calibrated on, and every form is verified on, beside the built-in ones.
        held_out, task, columns: Rows with answers, and how they are read.
        backend: Compiles.
        limits: Of the verification.
        max_drop: Of the metrics.
        score: The caller's function.
        options: Further keywords of ``compile``.
    """

    to: str
    texts: object = None
    held_out: object = None
    task: str | None = None
    columns: Mapping[str, str | Sequence[str] | None] | None = None
    backend: str | None = None
    limits: Any = None
    max_drop: object = None
    score: Callable[[Any], float] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def quantize(model: Model, args: QuantizeArgs) -> Model:
    """Compiles the model to smaller numbers, measures it, and gives it as another object."""
    arguments.one_of("to", args.to, [*FORMS])
    refuse_quantized(model._quantized, args.to)
    name = model._need_origin("quantize").name
    measured = _measured(model, args)
    texts = _texts(args)
    backend = args.backend or (_PREVIEW if args.to == CARD_FORM else None)
    asked = Quantized(
        args.to, {"backend": backend, "texts": texts or None, "limits": args.limits, **FORMS[args.to]}, ()
    )
    cache = Cache()
    with model._lock, trial_cache(cache) as aside, ExitStack() as opened:
        try:
            made, request = _compiled(model, args.options, aside, asked)
        except VerificationError as error:
            error.do = f"{_GENTLER[args.to]}, or pass looser limits={{…}}"  # compile speaks of keywords of its own
            raise
        opened.callback(made.close)
        drops: tuple[Drop, ...] = ()
        if measured.asks:
            before = model
            if model._loaded is None:  # then what the backend computes by itself
                plain = {name: value for name, value in args.options.items() if name not in asked.keywords}
                before, _ = _compiled(model, {**plain, "backend": request.backend.name}, aside)
                opened.callback(before.close)
            drops = drops_between_models(before, made, measured.held_out, measured.score, torch=False)
        if measured.guard is not None:
            measured.guard.check(drops, f"Quantizing {name!r} to {args.to!r}", _GENTLER[args.to])
        program = made._need_loaded().program
        step = CompressionStep(
            "quantize",
            {"to": args.to, "backend": request.backend.name, "limits": to_json(request.limits)},
            {"bytes": sum(file.size for file in program.manifest.files.values())},
            _texts_as_json(texts) | rows_as_json("eval", measured.held_out),
            drops,
            measured.guard.limits if measured.guard else {},
            told=f"quantized to {args.to}",
        )
        cache.adopt(aside, "onnx")
        recipe = model._recipe(args.options.get("use_onnx_subfunctions", False), args.options.get("verify", "on"))
        kept = compile_stage(recipe, request, cache, [step.to_dict()], made=program)
        made._quantized = replace(asked, steps=(step.to_dict(),))
        made._keep_program(kept, request.backend, request.reason, args.options)
    return made


def _compiled(
    model: Model, keywords: Mapping[str, Any], cache: Cache, asked: Quantized | None = None
) -> tuple[Model, CompileRequest]:
    """Another object on the same model, compiled with these keywords of ``compile`` into this cache."""
    made = copied(model)
    made._loaded = made._encoder = made._onnx_path = None
    made._quantized, made.model_card_data = asked, Evaluations()
    given = inspect.signature(EncoderRoad.compile).bind(made, **keywords)
    given.apply_defaults()
    options = given.arguments.pop("compiler_options")
    filled = given.arguments if asked is None else asked.filled_in(given.arguments)
    program, request = made._compiled(filled, options, cache)
    made._keep_program(program, request.backend, request.reason, {"strict": filled["strict"]})
    return made, request


def _texts_as_json(texts: Sequence[str]) -> dict[str, Json]:
    return {"texts": {"rows": len(texts), "digest": digest_of({"text": texts})}} if texts else {}


def _texts(args: QuantizeArgs) -> tuple[str, ...]:
    texts = arguments.optional_strings("texts", args.texts)
    if args.texts is not None and not texts:
        raise InputError(
            "There are no texts to calibrate on.",
            got="texts=[]",
            allowed="texts such as the model will be given: some hundreds show its ranges well",
            do="pass some, or leave texts out: the built-in ones are taken then",
        )
    return texts


def _measured(model: EncoderRoad, args: QuantizeArgs) -> MeasuredOn:
    guard = parse_guard(args.max_drop)
    check_score(args.score)
    held_out = args.held_out
    if held_out is not None and not isinstance(held_out, Examples):
        held_out = read_examples(held_out, args.task, args.columns, model_task=model._task.name)
    check_measured(guard, held_out, args.score)
    return MeasuredOn(held_out, args.score, guard)
