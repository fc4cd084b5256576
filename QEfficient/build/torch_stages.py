"""The stages that need torch. Imported only when the cache has no answer, or when the torch model itself is run."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from QEfficient.architectures import Architecture, find
from QEfficient.backends.base import Arrays
from QEfficient.cache import Cache
from QEfficient.errors import ExportError, InputError, PoolingError
from QEfficient.export.exporter import LENGTH_DIM, traced
from QEfficient.export.isolated import isolated
from QEfficient.numerics.check import Array, Comparison, Run, check_padding
from QEfficient.numerics.host import host_session
from QEfficient.numerics.samples import CUTS, LONGEST, bucket_of, random_samples, refuse_texts, text_samples
from QEfficient.numerics.sentences import LONG, SENTENCES
from QEfficient.numerics.verify import LIMITS, Reference, Sample, Verification, refuse, verify
from QEfficient.onnx_transforms import DEFAULT, finish, tables
from QEfficient.onnx_transforms.layer_functions import LayerFunctions
from QEfficient.pytorch_transforms.blocks import exportable, structural_copy
from QEfficient.pytorch_transforms.embedding import (
    POOLING_MASK,
    EmbeddingModule,
    GraphModule,
    MaskKind,
    TaskModule,
    mask_of,
    one_choice,
    places,
    states_of,
    text_inputs,
)
from QEfficient.pytorch_transforms.head import Head
from QEfficient.pytorch_transforms.padding_ids import hide_padding, no_end, pool_by_mask, takes_last_column
from QEfficient.pytorch_transforms.rotary import tabulate
from QEfficient.pytorch_transforms.speech import settle_frames
from QEfficient.records import Json, OnnxModel, RowRules, Rows, TensorSpec, TextFacts
from QEfficient.runtime.names import OF_TRANSFORMERS
from QEfficient.runtime.run import frame_count
from QEfficient.runtime.spans import span
from QEfficient.runtime.tables import Tables
from QEfficient.source.origin import RepoOrigin
from QEfficient.source.recipe import text_facts, tokenizer_keywords
from QEfficient.text.facts import write_tokenizer
from QEfficient.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from QEfficient.source.recipe import Recipe


@isolated
def export_graph(recipe: Recipe, folder: Path) -> OnnxModel:
    """Torch → ONNX → graph passes.

    Args:
        recipe: What to export.
        folder: Where the finished graph goes.
    """
    config = recipe.origin.config()
    architecture = recipe.architecture
    with span("load"):
        module, specs = graph_module(recipe)
    passes = (*DEFAULT, LayerFunctions) if recipe.functions else DEFAULT
    limit, shortest = architecture.max_length(config), architecture.shortest(config)
    with (
        span("export"),
        traced(module, inputs=specs, outputs=recipe.outputs, length_limit=limit, shortest=shortest) as graph,
    ):
        exported = finish(graph, folder, passes=passes)
    _check_free(recipe, exported)
    return exported


def _check_free(recipe: Recipe, exported: OnnxModel) -> None:
    """One vector a token needs a free length; a model's code may have made a constant of it."""
    if recipe.per_token and isinstance(exported.outputs[0].shape[1], int):
        raise ExportError(
            f"The graph of {recipe.origin.name!r} lost its free length: the model's code made a constant of it.",
            got=f"an output of shape {list(exported.outputs[0].shape)}",
            allowed=f"a shape with {LENGTH_DIM}, or frames",
            do="use a model whose forward takes any length",
        )


def _model(recipe: Recipe) -> tuple[nn.Module, Architecture]:
    """What is exported of the model: its encoder, or for a task all of it."""
    architecture = find(str(recipe.origin.config().get("model_type", "")))
    model = recipe.origin.module()
    return architecture.encoder_of(model) if recipe.embeds else model, architecture


def inputs_of(model: nn.Module, architecture: Architecture, config: Mapping[str, Json]) -> tuple[TensorSpec, ...]:
    """The graph's inputs."""
    inputs = architecture.inputs
    return text_inputs(model, architecture.more(config)) if inputs is None else inputs(config)


def _mask(recipe: Recipe, model: nn.Module, architecture: Architecture) -> MaskKind:
    # A model with code of its own may carry a known model_type: only transformers' class is known to take that mask.
    known = type(model).__module__.startswith("transformers.") and not recipe.task.choices
    return architecture.mask_kind(recipe.origin.config()) if known else "own"


def graph_module(recipe: Recipe) -> tuple[GraphModule, tuple[TensorSpec, ...]]:
    """The module that is exported, its blocks swapped, and the graph's inputs."""
    model, architecture = _model(recipe)
    specs = inputs_of(model, architecture, recipe.origin.facts())
    twin, _ = exportable(model, architecture.swaps())
    tabulate(twin, architecture.max_length(recipe.origin.config()))
    settle_frames(twin, architecture.frames(recipe.origin.config()))
    _hide_ends(twin, recipe)
    names, mask = [spec.name for spec in specs], _mask(recipe, model, architecture)
    module: GraphModule
    if recipe.embeds:
        module = EmbeddingModule(twin, _head(recipe), names, mask)
    else:
        if _last_column(recipe, model):
            pool_by_mask(twin)
        module = TaskModule(twin, recipe.outputs, names, mask, choices=recipe.task.choices)
    return module.eval(), (*specs, *_head_inputs(recipe))


def _last_column(recipe: Recipe, model: nn.Module) -> bool:
    """Whether HuggingFace's own model has to be asked row by row, without what stands behind a row."""
    texts = recipe.architecture.inputs is None and not recipe.embeds and not recipe.task.per_token
    return texts and takes_last_column(model)


def _hide_ends(twin: nn.Module, recipe: Recipe) -> None:
    """Where a row's vector is the state of its first end token, none is to be found in the padding before it."""
    if recipe.architecture.ends and recipe.pools_end:
        config = recipe.origin.config()
        hide_padding(twin, no_end((config.get("text_config") or config).get("eos_token_id")))


def _head_inputs(recipe: Recipe) -> tuple[TensorSpec, ...]:
    """Inputs of the graph that its head takes: the mask of the tokens that are pooled, where a prompt's are not."""
    return (POOLING_MASK,) if any(not step.get("include_prompt", True) for step in recipe.head.steps) else ()


class _Reference(nn.Module):
    """A call of HuggingFace's model with exactly the caller's arrays, and the head behind it.

    Where padding must not count, it is asked row by row (``alone``), or is shown other ids where the mask is 0: that is
    no plain call any more, and the tests compare it with HuggingFace's rows that have no such padding.

    Args:
        model: HuggingFace's model.
        recipe: What is made of it.
        head: What stands behind an encoder.
        alone: Ask row by row, each without the padding behind it: the model takes no others, or scores the padding.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, head: Head | None, *, alone: bool = False) -> None:
        super().__init__()
        self.model, self.head, self.alone = model, head, alone
        self.outputs, self.choices = recipe.outputs, recipe.task.choices

    def forward(self, **arrays: torch.Tensor) -> dict[str, torch.Tensor]:
        if not self.alone:
            return self._call(arrays)
        rows = [self._call(row) for row in _rows_of(arrays)]
        return {name: torch.cat([row[name] for row in rows]) for name in self.outputs}

    def _call(self, arrays: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        more = [arrays.pop(name) for name in (POOLING_MASK.name,) if name in arrays]
        given = one_choice(arrays) if self.choices else arrays
        output = self.model(**given)
        if self.head is None:
            return {name: getattr(output, name) for name in self.outputs}
        states = states_of(output, self.head.source)
        states = places(states) if len(self.head.steps) else states
        mask = mask_of(states, arrays.get("attention_mask"), self.model)
        return {self.outputs[0]: self.head(states, mask, *more)}


def _rows_of(arrays: Mapping[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    """Each row of a batch by itself, up to and with its last real token."""
    for row, mask in enumerate(arrays["attention_mask"]):
        length = int(mask.nonzero()[-1]) + 1
        yield {name: array[row : row + 1, :length] for name, array in arrays.items()}


def reference(recipe: Recipe, *, float32: bool) -> nn.Module:
    """HuggingFace's own blocks and masks, with the head behind them; a copy that shares the model's tensors.

    Args:
        recipe: Which model.
        float32: Compute in float32 whatever the weights' dtype.
    """
    model, _ = _model(recipe)
    twin = exportable(model)[0] if float32 else structural_copy(model)
    _hide_ends(twin, recipe)
    head = _head(recipe) if recipe.embeds else None
    return _Reference(twin, recipe, head, alone=_last_column(recipe, model)).eval()


def _head(recipe: Recipe) -> Head:
    origin = recipe.origin
    folder = origin.files.folder if isinstance(origin, RepoOrigin) else None
    head = Head(recipe.head.steps, folder=folder, pooling=recipe.head.function)
    config = origin.config()
    width = next((config[name] for name in ("hidden_size", "d_model", "dim") if name in config), None)
    if recipe.head.function is not None and isinstance(width, int):
        head.check(width)  # the caller's own code: a fault is named before the exporter meets it
    return head


@isolated
def check_graph(recipe: Recipe, model: OnnxModel) -> tuple[Verification, list[Reference]]:
    """The graph's numbers against HuggingFace's, on built-in texts and on rows that move what exporters get wrong.

    Returns:
        What was found, within the limits, and what HuggingFace's model gave.
    """
    how = Comparison(recipe.origin.name, model.outputs, not recipe.task.embeds, recipe.frames)
    config = recipe.origin.config()
    rules = recipe.architecture.rules(config, model.inputs)
    sizes = tables(model.path)
    samples = random_samples(recipe.architecture, config, model.inputs, rules, sizes, ends=recipe.pools_end)
    run = reference_run(recipe, float32=True)
    references: list[Reference] = []

    def each() -> Iterator[Reference]:
        for sample in (*samples, *text_samples_of(recipe, model, (*SENTENCES, LONG), LONGEST, CUTS)):
            references.append((sample, run(sample.inputs)))
            yield references[-1]

    with host_session(model, bucket_of(model.inputs, samples)) as session:
        result = verify(each(), session.run, how, LIMITS["fp32"], "an ONNX graph, in fp32 on the host")
    refuse(result, how.name)
    # Last: some models (BigBird) change how they attend for good once they met a short row.
    what = "The pooling function" if recipe.head.function is not None else f"HuggingFace's own {how.name!r}"
    check_padding(run, [dict(sample.inputs) for sample in samples], replace(how, name=what))
    return result, references


def text_samples_of(
    recipe: Recipe, model: OnnxModel, texts: Sequence[str], longest: int, cuts: Sequence[int] = ()
) -> list[Sample]:
    """Texts as the model's tokenizer reads them; none where the model takes no texts or has no tokenizer.

    Args:
        recipe: Which model.
        model: Its graph.
        texts: What to run.
        longest: Tokens after which a text is cut, where the model itself takes more.
        cuts: Lengths at which the built-in long text is run as well, as far as the model takes them.

    Raises:
        InputError: A text has a token that the model has no row for.
    """
    folder = recipe.origin.folder
    if folder is None or recipe.architecture.inputs is not None or recipe.task.choices:
        return []
    facts = text_facts(recipe.origin)
    longest = min(longest, facts.max_length, recipe.architecture.max_length(recipe.origin.config()) or longest)
    with Cache().work_folder() as scratch:
        name = write_tokenizer(folder, scratch, tokenizer_keywords(recipe.origin))
        if name is None:
            return []
        tokenizer = Tokenizer.from_folder(scratch, replace(facts, tokenizer=name))
    rules = recipe.architecture.rules(recipe.origin.config(), model.inputs)
    samples = partial(text_samples, tokenizer, inputs=model.inputs, rules=rules, tables=tables(model.path))
    found = samples(texts, longest=longest)
    for cut in cuts:
        if cut < longest:
            found += samples((LONG,), longest=cut)
    return found


@isolated
def text_references(recipe: Recipe, model: OnnxModel, texts: Sequence[str], longest: int) -> list[Reference]:
    """Texts, and HuggingFace's numbers for them; the arguments are those of :func:`text_samples_of`.

    Raises:
        UsageError: The model takes no texts, or has no tokenizer; or a text has a token that it has no row for.
    """
    samples = text_samples_of(recipe, model, texts, longest)
    if not samples:
        refuse_texts(texts, recipe.origin.name)
    run = reference_run(recipe, float32=True)
    found: list[Reference] = [(sample, run(sample.inputs)) for sample in samples]
    recipe.origin.release()
    return found


@isolated
def reference_run(recipe: Recipe, *, float32: bool) -> Run:
    """HuggingFace's own model with the head behind it, as a function of arrays."""
    module, name = reference(recipe, float32=float32), recipe.origin.name
    return lambda arrays: _run_reference(module, arrays, name)


def _run_reference(module: nn.Module, arrays: Mapping[str, Array], name: str) -> Arrays:
    try:
        return _run_module(module, arrays)
    except PoolingError:
        raise
    except Exception as error:  # a model's code may fail in any way
        shapes = ", ".join(f"{key} {list(array.shape)}" for key, array in arrays.items())
        raise ExportError(
            f"HuggingFace's own model {name!r} fails on {shapes}, which it has to be compared on.",
            got=f"{type(error).__name__}: {error}",
            allowed="a model that takes batches of rows of any token ids, of every length from 1 to its limit",
            do="add a file for its model_type with the limit (docs: Add an architecture), "
            'or take the risk with verify="off"',
        ) from error


@isolated
def _run_module(module: nn.Module, arrays: Mapping[str, Array]) -> Arrays:
    with torch.no_grad():
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        return {name: value.float().numpy() for name, value in module(**tensors).items()}


# ---------------------------------------------------------------------------------------------- the torch model itself


@isolated
def graph_specs(recipe: Recipe) -> tuple[TensorSpec, ...]:
    """The inputs that the recipe's graph has, or would have."""
    model, architecture = _model(recipe)
    return (*inputs_of(model, architecture, recipe.origin.facts()), *_head_inputs(recipe))


@isolated
def graph_rules(recipe: Recipe, specs: Sequence[TensorSpec]) -> RowRules:
    """What a row of that graph may look like; what else the model takes is read off its own forward."""
    model, architecture = _model(recipe)
    rules = architecture.rules(recipe.origin.config(), specs)
    known = {spec.name for spec in specs}
    own = dict.fromkeys((name for name in inspect.signature(model.forward).parameters if name not in known), "")
    return replace(rules, left_out={**own, **OF_TRANSFORMERS, **rules.left_out})


@isolated
def run_torch(recipe: Recipe, rows: Rows, specs: Sequence[TensorSpec], rules: RowRules, text: TextFacts) -> Arrays:
    """``generate(…, runtime_ai100=False)``: the torch model on checked rows; results are cut back alike.

    Args:
        recipe: Which model.
        rows: As ``inference.arrays.rows`` gives them for ``specs``.
        specs: As :func:`graph_specs` gives them.
        rules: As :func:`graph_rules` gives them.
        text: What fills a row.
    """
    module = reference(recipe, float32=False)
    everyone = range(len(rows))
    groups = [list(everyone)] if rules.pads else [[row] for row in everyone]
    fill = rules.fill(text)
    parts = []
    for group in groups:
        width = rows.width if len(groups) == 1 else rows.lengths[group[0]]
        arrays = {spec.name: _stack(rows, spec, group, width, fill) for spec in specs}
        try:
            parts.append((group, _run_module(module, arrays)))
        except IndexError as error:
            raise _past_a_table(module.model, rows, error) from error
    if not recipe.per_token:
        return {name: np.concatenate([out[name] for _, out in parts]) for name in recipe.outputs}
    return {name: _gather([(group, out[name]) for group, out in parts], rows, rules.frames) for name in recipe.outputs}


def _past_a_table(model: Any, rows: Rows, error: IndexError) -> InputError:
    """What to raise for torch's error about a row that some table lacks: it names neither."""
    try:
        sizes = {"input_ids": model.get_input_embeddings().num_embeddings}
        Tables(sizes).check(rows)
    except InputError as named:
        return named
    except (AttributeError, NotImplementedError):  # no plain table, or none that the model tells of
        pass
    greatest = (f"{name} up to {max(int(each.max()) for each in column)}" for name, column in rows.columns.items())
    return InputError(
        "An input is past the end of a table of the torch model.",
        got=f"{', '.join(greatest)}: {error}",
        allowed="numbers that every table of the model has a row for",
        do="pass smaller numbers",
    )


def _stack(rows: Rows, spec: TensorSpec, group: Sequence[int], width: int, fill: Mapping[str, int]) -> Array:
    sizes = {"batch_size": len(group), "seq_len": width}
    shape = [dim if isinstance(dim, int) else sizes[dim] for dim in spec.shape]
    array = np.full(shape, fill.get(spec.name, 0), dtype=spec.dtype)
    for place, row in enumerate(group):
        array[place, : len(rows.columns[spec.name][row])] = rows.columns[spec.name][row]
    return array


def _gather(parts: Sequence[tuple[Sequence[int], Array]], rows: Rows, frames: Sequence[tuple[int, ...]]) -> Array:
    """Outputs with one entry a token, or frame, in the rows' order; beyond a row's own they are exactly 0."""
    first = parts[0][1]
    result = np.zeros((len(rows), frame_count(rows.width, frames), *first.shape[2:]), first.dtype)
    for group, out in parts:
        for place, row in enumerate(group):
            length = frame_count(rows.lengths[row], frames)
            result[row, :length] = out[place, :length]
    return result
