"""Pruning of an Auto object: another one, of the same class, without what matters least.

What is measured, is measured in torch: nothing is compiled, and nothing is put into the cache. The model is written
once its guard has let it pass; where the guard refuses it, its folder is as before.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from QEfficient import hub, settings
from QEfficient.auto.compression.cut import Cut, cut_of
from QEfficient.auto.compression.folders import as_before_if_refused
from QEfficient.auto.compression.guarding import check_measured, rows_as_json
from QEfficient.auto.compression.measuring import MeasuredModel, drops_between
from QEfficient.auto.compression.recovering import check_recovery, parse_recovery, recover
from QEfficient.auto.processors import own_processor
from QEfficient.auto.training import check_score, check_task, examples_of, like, sentence_steps, whole_module
from QEfficient.cache import content_key
from QEfficient.compress.guard import Drop, parse_guard
from QEfficient.compress.record import CompressionStep, add_step
from QEfficient.errors import UsageError
from QEfficient.evaluate.record import Examples
from QEfficient.records import Json
from QEfficient.source.checkpoint import TRAINING_FILE, Checkpoint
from QEfficient.source.identity import tensors_digest
from QEfficient.source.origin import Origin
from QEfficient.tasks.catalogue import FEATURE_EXTRACTION, TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION
from QEfficient.train.alone import one_at_a_time

if TYPE_CHECKING:
    from QEfficient.auto.base import QEFFTransformersBase
    from QEfficient.train.record import Trained

log = logging.getLogger("QEfficient")
Model = TypeVar("Model", bound="QEFFTransformersBase")
_GENTLER = "ask for a smaller share, or let it recover for more steps"


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneArgs:
    """The arguments of ``prune``, as they are named there; ``held_out`` is its ``eval``."""

    share: float | None
    heads: bool
    feed_forward: bool
    layers: int | Sequence[int] | None
    block: int
    data: object
    held_out: object
    task: str | None
    columns: Mapping[str, str | Sequence[str] | None] | None
    tokenizer: Any
    processor: Any
    recover: bool | Mapping[str, Any]
    max_drop: Mapping[str, float] | None
    score: Callable[[Any], float] | None
    seed: int
    output_dir: str | PathLike[str] | None


@one_at_a_time()
def prune(model: Model, args: PruneArgs) -> Model:
    """Measures what matters least, cuts it off a copy, lets that recover, and gives it as another object."""
    from QEfficient.train.distill_request import parse_distill_request
    from QEfficient.train.run import needs

    given = parse_distill_request({"seed": args.seed, "output_dir": args.output_dir})
    guard, request = parse_guard(args.max_drop), parse_recovery(args.recover, args.seed)
    check_score(args.score)
    wanted = Cut.parse(args.share, args.layers, (args.heads, args.feed_forward), args.block)
    vectors = model._task is FEATURE_EXTRACTION
    needs(*(["sentence_transformers"] if vectors else []), *(["accelerate", "datasets"] if request else []))
    origin = origin_of(model, "prune")
    rows, held_out = _rows(model, args)
    if request is not None:
        check_recovery(rows.task, vectors)
    before = measured_model(model, origin, args.tokenizer, args.processor)
    score = args.score or before.score_of(held_out)
    check_measured(guard, held_out if score else None, args.score)
    narrow = cut_of(before, wanted, rows, args.seed)
    after = dataclasses.replace(before, model=dataclasses.replace(before.model, module=narrow.module))
    how = wanted.to_dict() | {"seed": args.seed, "recover": None if request is None else request.how()}
    folder = given.output_dir or own_folder(before, (rows, held_out), how)
    with as_before_if_refused(folder):
        first, cut = before.asked(score), after.asked(score)
        trained, last = None, cut
        if request is not None:
            trained = recover(before, after, (rows, held_out), dataclasses.replace(request, output_dir=folder))
            last = after.asked(score, trained.wrapper)
        drops = drops_between(first, last)
        if guard is not None:
            guard.check(drops, f"Pruning {origin.name!r}", _GENTLER)
    made = dict(narrow.facts)
    if trained is not None:
        made["recovery"] = {"steps": trained.course.steps, "before": _values(drops_between(first, cut))}
    data = rows_as_json("data", rows) | rows_as_json("eval", held_out)
    told = _told(narrow.facts, trained is not None)
    step = CompressionStep("prune", how, made, data, drops, guard.limits if guard else {}, told)
    add_step(narrow.module.config, step)
    log.info("pruned %s: %s", origin.name, "; ".join(map(str, drops)) or made)
    return like(model, kept_model(origin, after, trained, folder, model._task.auto_class))


def _told(facts: Mapping[str, Json], recovered: bool) -> str:
    gone = f"{facts['share_of_encoder']:.0%} of the encoder pruned"
    return f"{gone}, recovered" if recovered else gone


def _values(drops: Sequence[Drop]) -> dict[str, Json]:
    return {one["name"]: one["after"] for one in (drop.to_dict() for drop in drops)}


def origin_of(model: QEFFTransformersBase, step: str) -> Origin:
    """What a model is, whose weights are to change.

    Raises:
        UsageError: A quantized model, or a saved program.
    """
    if model._quantized is not None:
        raise UsageError(
            f"{step} changes weights, and this model is quantized.",
            got=f"a model that was quantized to {model._quantized.to!r}",
            allowed="the model that it was made from",
            do=f"call {step} of that, and quantize what comes of it",
        )
    return model._need_origin(step)


def _rows(model: QEFFTransformersBase, args: PruneArgs) -> tuple[Examples, Examples | None]:
    """The rows, checked before anything is loaded."""
    from QEfficient.evaluate.data import read_examples
    from QEfficient.train.distill_texts import TASK, holds_strings, read_rows, read_texts, text_columns

    if model._task is FEATURE_EXTRACTION:
        held_out = args.held_out
        if held_out is not None and not isinstance(held_out, Examples):
            held_out = read_examples(held_out, args.task, args.columns, model_task=model._task.name)
        return read_texts(args.data, text_columns(args.columns)), held_out
    data = args.data
    if model._task in (TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION) and args.task is None and holds_strings(data):
        rows = read_rows(data, args.columns) if not isinstance(data, Examples) else data
    else:
        rows = examples_of(model, data, args.task, args.columns)
    task = args.task if rows.task == TASK else rows.task
    held_out = None if args.held_out is None else examples_of(model, args.held_out, task, args.columns)
    for one in (rows, held_out):
        if one is not None and one.task != TASK:
            check_task(model, one)
    return rows, held_out


def measured_model(model: QEFFTransformersBase, origin: Origin, tokenizer: Any, processor: Any) -> MeasuredModel:
    """The model in memory, with all its weights and what reads for it.

    Args:
        model: An Auto object.
        origin: What it is.
        tokenizer: HuggingFace's, of a model in memory; ``None`` for its own.
        processor: Likewise of images or clips.
    """
    from QEfficient.train.material import SIGNAL_TASKS
    from QEfficient.train.sentence_model import SentenceHead
    from QEfficient.train.teacher import ModelWithTokenizer

    reader = own_processor(origin, model._task, tokenizer, processor)
    text = None if model._task.name in SIGNAL_TASKS else model._text()
    found = ModelWithTokenizer(whole_module(origin), reader, text)
    if model._task is not FEATURE_EXTRACTION:
        return MeasuredModel(found, None)
    folder = origin.repo.folder if origin.repo else None
    return MeasuredModel(found, SentenceHead(sentence_steps(model, found.module), folder, text))


def own_folder(before: MeasuredModel, rows: Sequence[Examples | None], how: Mapping[str, Json]) -> Path:
    """A folder whose name follows from all that decides what comes out."""
    told: dict[str, Json] = {
        "tensors": tensors_digest(before.model.module),
        "steps": None if before.head is None else [dict(step) for step in before.head.steps],
        "rows": [None if one is None else one.digest for one in rows],
        "how": dict(how),
    }
    return settings.home() / "prune" / content_key(told)


def kept_model(
    origin: Origin, after: MeasuredModel, trained: Trained | None, folder: Path, auto_class: str
) -> Checkpoint:
    """The pruned model in its folder. Of a model that did not recover, what it was trained on before still holds."""
    from QEfficient.train.folder import MODEL_FOLDER
    from QEfficient.train.processes import by_the_first
    from QEfficient.train.save import keep_folder, write_model

    model, wrapper = after.model, after.wrapper() if trained is None else trained.wrapper
    facts: Any = origin.training if isinstance(origin, Checkpoint) else None
    if trained is not None:
        facts = dataclasses.replace(trained, name=origin.name).facts()

    def write(path: Path) -> None:
        write_model(path, model.module, wrapper, model.tokenizer)
        if facts is not None:
            (path / TRAINING_FILE).write_text(json.dumps(facts, indent=1), encoding="utf-8")

    kept = by_the_first(lambda: keep_folder(write, folder / MODEL_FOLDER))
    return Checkpoint(dataclasses.replace(hub.resolve(kept), name=f"{origin.name} (pruned)"), auto_class)
