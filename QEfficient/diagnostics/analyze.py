"""What ``analyze`` looks at: which graph, which shapes, which texts, and HuggingFace's module where there is one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from QEfficient import arguments
from QEfficient.analysis.analyze import analyze
from QEfficient.analysis.cards import CARDS
from QEfficient.analysis.lengths import fill
from QEfficient.analysis.risk import fp16_risk
from QEfficient.build.buckets import buckets_of, named_lengths, one_size
from QEfficient.build.check import CHECK_FILE
from QEfficient.build.subject import ModelSubject, SavedSubject, Subject
from QEfficient.build.tokenizer import text_lengths
from QEfficient.diagnostics.recommend import speed_points
from QEfficient.export.isolated import isolated
from QEfficient.numerics.probes import RowSpace
from QEfficient.numerics.samples import LONGEST, text_samples
from QEfficient.numerics.sentences import LONG, SENTENCES
from QEfficient.records import LENGTH_DIM, Json, OnnxModel, Shape, TensorSpec
from QEfficient.runtime.beside import stand_in
from QEfficient.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from QEfficient.analysis.analysis import Analysis
    from QEfficient.analysis.record import ModuleAnalysis, Risk

MOST_TEXTS = 64  # of the caller's, whose ranges are measured: each costs a run


@dataclass(frozen=True, slots=True)
class AnalyzeArgs:
    """The keywords of one ``analyze`` call; the method's docstring explains them."""

    seq_len: int | Iterable[int] | None = None
    batch_size: int | None = None
    texts: Iterable[str] | None = None
    before: bool = True
    fp16: bool = True


def analyze_model(subject: Subject, args: AnalyzeArgs) -> Analysis:
    """Analyses a model on its road, wherever it stands."""
    buckets = _buckets(subject, args)
    given, tokenizer = arguments.optional_strings("texts", args.texts), subject.tokenizer()
    lengths = None if args.texts is None else fill(text_lengths(given, tokenizer), buckets, _limit(subject))
    model = subject.graph()  # an export may stand behind it, so the arguments were checked first
    module = None
    if args.before and isinstance(subject, ModelSubject):
        module = module_side(subject, model.inputs, buckets[0])
    return replace(
        analyze(model, buckets, name=subject.name),
        model=module,
        lengths=lengths,
        risk=text_risk(subject, model, tokenizer, given) if args.fp16 else None,
        predictions=speed_points(
            subject, buckets, [card.name for card in CARDS], subject.loaded is None and args.batch_size is None
        ),
        verification=_verification(subject, model),
    )


def _buckets(subject: Subject, args: AnalyzeArgs) -> tuple[Shape, ...]:
    batch = None if args.batch_size is None else arguments.positive("batch_size", args.batch_size, "rows")
    if subject.loaded is not None and (args.seq_len is None or isinstance(subject, SavedSubject)):
        own = subject.loaded.program.manifest.shapes
        found = own if args.seq_len is None else _of_lengths(own[0], args.seq_len)
        return found if batch is None else tuple(Shape(batch=batch, sizes=bucket.sizes) for bucket in found)
    assert isinstance(subject, ModelSubject)  # the other kind has a program
    return buckets_of(args.seq_len, batch or 1, subject.recipe.reach, subject.text)


def _of_lengths(bucket: Shape, seq_len: object) -> tuple[Shape, ...]:
    """Buckets like this one, of other lengths."""
    if LENGTH_DIM not in bucket.sizes:
        raise one_size(seq_len)
    return tuple(Shape(size, sizes=bucket.sizes) for size in named_lengths(seq_len))


def _verification(subject: Subject, model: OnnxModel) -> Mapping[str, Json] | None:
    """The numeric check's result, as the program's manifest or the file beside the graph has it."""
    if subject.loaded is not None:
        return dict(subject.loaded.program.manifest.verify) or None
    file = model.path.parent / CHECK_FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def text_risk(subject: Subject, model: OnnxModel, tokenizer: Tokenizer | None, texts: Sequence[str]) -> Risk | None:
    """The range of every tensor over built-in texts and the caller's; ``None`` where the model reads no texts."""
    if tokenizer is None:
        return None
    from QEfficient.onnx_transforms import tables

    every = (*SENTENCES, LONG, *texts[:MOST_TEXTS])
    space = RowSpace(subject.config(), model.inputs, subject.rules(model.inputs), tables(model.path))
    samples = text_samples(tokenizer, every, space, longest=min(_limit(subject), LONGEST))
    return fp16_risk(model, samples) if samples else None


def _limit(subject: Subject) -> int:
    return subject.text.max_length if subject.text else LONGEST


@isolated
def module_side(subject: ModelSubject, inputs: Sequence[TensorSpec], bucket: Shape) -> ModuleAnalysis:
    """HuggingFace's own module: parameters of all of it, and FLOPs of what is exported, head included.

    Args:
        subject: Which model. Its weights are read, and forgotten again.
        inputs: The graph's.
        bucket: The shape of the run; masks are ones, so that every row is full.
    """
    from QEfficient.analysis.module import ForwardPass, module_analysis
    from QEfficient.build.torch_reference import reference

    recipe = subject.recipe
    whole = recipe.origin.module()
    encoder = recipe.task.part(whole, recipe.architecture)
    part = next(path for path, module in whole.named_modules() if module is encoder)
    arrays = {spec.name: stand_in(spec, spec.at(bucket)) for spec in inputs}
    run = ForwardPass(reference(recipe, float32=True), arrays, bucket, inside="model", part=part)
    try:
        return module_analysis(whole, run)
    finally:
        recipe.origin.release()
