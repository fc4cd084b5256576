"""Zeros in place of an Auto object's smallest weights: another one, of the same class and the same size."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeVar

from QEfficient.auto.compression.guarding import check_measured, rows_as_json
from QEfficient.auto.compression.measuring import drops_between
from QEfficient.auto.compression.pruning import kept_model, measured_model, origin_of, own_folder
from QEfficient.auto.training import check_score, examples_of, like
from QEfficient.compress.guard import parse_guard
from QEfficient.compress.pruning.masks import mask_n_of_m, mask_smallest
from QEfficient.compress.record import CompressionStep, add_step
from QEfficient.errors import UsageError
from QEfficient.tasks.catalogue import FEATURE_EXTRACTION
from QEfficient.train.alone import one_at_a_time

if TYPE_CHECKING:
    from QEfficient.auto.base import QEFFTransformersBase

log = logging.getLogger("QEfficient")
Model = TypeVar("Model", bound="QEFFTransformersBase")


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskArgs:
    """The arguments of ``mask``, as they are named there; ``held_out`` is its ``eval``."""

    pattern: str | None
    share: float | None
    held_out: object
    task: str | None
    columns: Mapping[str, str | Sequence[str] | None] | None
    tokenizer: Any
    processor: Any
    max_drop: Mapping[str, float] | None
    score: Callable[[Any], float] | None
    output_dir: str | PathLike[str] | None


@one_at_a_time()
def mask(model: Model, args: MaskArgs) -> Model:
    """Sets weights to zero in a copy, measures it, and gives it as another object."""
    from QEfficient.train.distill_request import parse_distill_request
    from QEfficient.train.run import needs

    output_dir = parse_distill_request({"output_dir": args.output_dir}).output_dir
    guard = parse_guard(args.max_drop)
    check_score(args.score)
    if (args.pattern is None) == (args.share is None):
        raise UsageError(
            "It has to be said which weights become zero: a pattern, or the smallest share of each matrix.",
            got="neither pattern nor share" if args.share is None else "both",
            allowed="one of them",
            do='pass pattern="2:4", or share=0.5',
        )
    needs(*(["sentence_transformers"] if model._task is FEATURE_EXTRACTION else []))
    origin = origin_of(model, "mask")
    held_out = None if args.held_out is None else examples_of(model, args.held_out, args.task, args.columns)
    before = measured_model(model, origin, args.tokenizer, args.processor)
    score = args.score or before.score_of(held_out)
    check_measured(guard, held_out if score else None, args.score)
    module = before.model.module
    made = mask_n_of_m(module, args.pattern or "") if args.share is None else mask_smallest(module, args.share)
    after = dataclasses.replace(before, model=dataclasses.replace(before.model, module=made.module))
    drops = drops_between(before.asked(score), after.asked(score))
    if guard is not None:
        guard.check(drops, f"Masking {origin.name!r}", "ask for fewer zeros")
    how = {"pattern": args.pattern, "share": args.share}
    limits = guard.limits if guard else {}
    told = f"{made.share_zero:.0%} of the encoder's matrices zeros ({made.pattern}), no gain in speed"
    add_step(
        made.module.config,
        CompressionStep("mask", how, made.to_dict(), rows_as_json("eval", held_out), drops, limits, told),
    )
    log.info("%s: %s", origin.name, made.told)
    folder = output_dir or own_folder(before, [held_out], {"step": "mask", **how})
    return like(model, kept_model(origin, after, None, folder, model._task.auto_class))
