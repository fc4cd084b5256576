"""What ``analyze`` looks at: which graph, which shapes, which texts, and HuggingFace's module where there is one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from QEfficient import arguments
from QEfficient.analysis.analyze import analyze
from QEfficient.analysis.cards import CARDS
from QEfficient.build import request
from QEfficient.build.check import CHECK_FILE
from QEfficient.build.subject import rules_of
from QEfficient.diagnostics.buckets import text_lengths, tokenizer_of
from QEfficient.diagnostics.recommend import speed_points
from QEfficient.errors import OptionError, UsageError
from QEfficient.export.isolated import isolated
from QEfficient.numerics.samples import LONGEST, text_samples
from QEfficient.numerics.sentences import LONG, SENTENCES
from QEfficient.records import Bucket, Json, OnnxModel, RowRules, TensorSpec, TextFacts
from QEfficient.runtime.beside import stand_in
from QEfficient.source.recipe import reach
from QEfficient.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from QEfficient.analysis.record import Analysis, ModuleAnalysis, Risk
    from QEfficient.inference.loaded_program import LoadedProgram
    from QEfficient.source.recipe import Recipe

MOST_TEXTS = 64  # of the caller's, whose ranges are measured: each costs a run
NO_LIMIT = 10**9  # tokens; texts are counted whole, and cut when the buckets are filled


def analyze_model(
    graph: Callable[[], OnnxModel],
    *,
    loaded: LoadedProgram | None,
    recipe: Recipe | None,
    text: TextFacts | None,
    seq_len: object = None,
    batch_size: object = None,
    texts: Iterable[str] | None = None,
    before: bool = True,
    fp16: bool = True,
) -> Analysis:
    """Analyses a model on its road, wherever it stands.

    Args:
        graph: Gives the graph; an export may stand behind it, so the other arguments are checked first.
        loaded: The program, where one is compiled.
        recipe: Where the graph comes from; ``None`` for a saved program.
        text: The text side; ``None`` for a bare graph.
        seq_len: As ``compile`` takes it; left out, the program's own buckets, or ``compile``'s defaults.
        batch_size: Likewise.
        texts: What to fill the buckets with.
        before: Also look at HuggingFace's module.
        fp16: Also measure the range of every tensor.
    """
    buckets = _buckets(loaded, recipe, text, seq_len, batch_size)
    given, tokenizer = arguments.optional_strings("texts", texts), tokenizer_of(loaded, recipe, text)
    limit = text.max_length if text else LONGEST
    rows = text_lengths(given, tokenizer) if texts is not None else None
    model = graph()
    return analyze(
        model,
        buckets,
        name=_name(loaded, recipe),
        module=module_side(recipe, model.inputs, buckets[0]) if before and recipe is not None else None,
        rows=rows,
        limit=limit,
        risk=text_risk(model, tokenizer, given, limit, rules_of(loaded, recipe, model.inputs)) if fp16 else None,
        predictions=speed_points(
            recipe, loaded, buckets, [c.name for c in CARDS], loaded is None and batch_size is None
        ),
        verification=_verification(loaded, model),
    )


def _name(loaded: LoadedProgram | None, recipe: Recipe | None) -> str:
    if recipe is not None:
        return recipe.origin.name
    facts = loaded.program.manifest.model if loaded is not None else None
    return facts.name if facts is not None else ""


def _buckets(
    loaded: LoadedProgram | None, recipe: Recipe | None, text: TextFacts | None, seq_len: object, batch_size: object
) -> tuple[Bucket, ...]:
    batch = None if batch_size is None else arguments.positive("batch_size", batch_size, "rows")
    own = loaded.program.manifest.buckets if loaded is not None else ()
    if own and (seq_len is None or recipe is None):
        found = own if seq_len is None else _of_lengths(own[0], seq_len)
        return found if batch is None else tuple(replace(bucket, batch=batch) for bucket in found)
    if recipe is None or text is None:
        raise UsageError(
            "Nothing says which lengths this graph takes.",
            got="no program and no model",
            allowed="a model, or a saved program",
            do="compile the model first",
        )
    limits = reach(recipe.origin)
    if not limits.free:
        only = Bucket(1, batch or 1, length_dim="")
        return (only,) if seq_len is None else _of_lengths(only, seq_len)
    return tuple(Bucket(size, batch or 1) for size in request.sizes(seq_len, limits, text))


def _of_lengths(bucket: Bucket, seq_len: object) -> tuple[Bucket, ...]:
    """Buckets like this one, of other lengths."""
    if not bucket.length_dim:
        raise OptionError(
            "The model's inputs have one size, so there is no length to choose.",
            got=f"seq_len={seq_len!r}",
            allowed="leave seq_len out",
            do="drop seq_len",
        )
    return tuple(replace(bucket, length=size) for size in request.named_lengths(seq_len))


def _verification(loaded: LoadedProgram | None, model: OnnxModel) -> Mapping[str, Json] | None:
    """The numeric check's result, as the program's manifest or the file beside the graph has it."""
    if loaded is not None:
        return dict(loaded.program.manifest.verify) or None
    file = model.path.parent / CHECK_FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def text_risk(
    model: OnnxModel, tokenizer: Tokenizer | None, texts: Sequence[str], longest: int, rules: RowRules
) -> Risk | None:
    """The range of every tensor over built-in texts and the caller's; ``None`` where the model reads no texts."""
    if tokenizer is None:
        return None
    from QEfficient.analysis.risk import fp16_risk
    from QEfficient.onnx_transforms import tables

    every = (*SENTENCES, LONG, *texts[:MOST_TEXTS])
    most, sizes = min(longest, LONGEST), tables(model.path)
    samples = text_samples(tokenizer, every, model.inputs, rules, longest=most, tables=sizes)
    return fp16_risk(model, samples) if samples else None


@isolated
def module_side(recipe: Recipe, inputs: Sequence[TensorSpec], bucket: Bucket) -> ModuleAnalysis:
    """HuggingFace's own module: parameters of all of it, and FLOPs of what is exported, head included.

    Args:
        recipe: Which model. Its weights are read, and forgotten again.
        inputs: The graph's.
        bucket: The shape of the run; masks are ones, so that every row is full.
    """
    from QEfficient.analysis.module import Run, module_analysis
    from QEfficient.build.torch_stages import reference

    whole = recipe.origin.module()
    encoder = recipe.architecture.encoder_of(whole) if recipe.embeds else whole
    part = next(path for path, module in whole.named_modules() if module is encoder)
    arrays = {spec.name: stand_in(spec, spec.at(bucket)) for spec in inputs}
    run = Run(reference(recipe, float32=True), arrays, bucket, inside="model", part=part)
    try:
        return module_analysis(whole, run)
    finally:
        recipe.origin.release()
