"""HuggingFace's own model: its numbers, which a graph is compared with, and ``generate(…, runtime_ai100=False)``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from QEfficient.backends.base import Arrays
from QEfficient.build.torch_parts import by_last_column, head_of, hide_ends, part_of
from QEfficient.cache import Cache
from QEfficient.errors import ExportError, InputError, PoolingError
from QEfficient.export.isolated import isolated
from QEfficient.numerics.check import Array, Comparison, Run, check_padding
from QEfficient.numerics.host import host_session
from QEfficient.numerics.probes import RowSpace
from QEfficient.numerics.samples import CUTS, LONGEST, bucket_of, random_samples, refuse_texts, text_samples
from QEfficient.numerics.sentences import LONG, SENTENCES
from QEfficient.numerics.verify import LIMITS, Reference, Sample, Verification, refuse, verify
from QEfficient.onnx_transforms import tables
from QEfficient.pytorch_transforms.blocks import exportable, structural_copy
from QEfficient.pytorch_transforms.head import HeadModule
from QEfficient.records import OnnxModel, RowRules, Rows, TensorSpec, TextFacts
from QEfficient.runtime.run import frame_count
from QEfficient.runtime.tables import Tables
from QEfficient.source.text import text_facts
from QEfficient.tasks.task import Task
from QEfficient.text.facts import write_tokenizer
from QEfficient.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from QEfficient.source.recipe import Recipe


class ReferenceModule(nn.Module):
    """A call of HuggingFace's model with exactly the caller's arrays, and the head behind it.

    Where padding must not count, it is asked row by row (``alone``), or is shown other ids where the mask is 0: that is
    no plain call any more, and the tests compare it with HuggingFace's rows that have no such padding.

    Args:
        model: HuggingFace's model.
        task: What is made of it.
        head: What stands behind an encoder.
        alone: Ask row by row, each without the padding behind it: the model takes no others, or scores the padding.
    """

    def __init__(self, model: nn.Module, task: Task, head: HeadModule | None, *, alone: bool = False) -> None:
        super().__init__()
        self.model, self.task, self.head, self.alone = model, task, head, alone

    def forward(self, **arrays: torch.Tensor) -> dict[str, torch.Tensor]:
        """The graph's inputs by name → its outputs by name."""
        if not self.alone:
            return self.task.reference(self.model, arrays, self.head)
        rows = [self.task.reference(self.model, row, self.head) for row in _rows_of(arrays)]
        return {name: torch.cat([row[name] for row in rows]) for name in self.task.outputs}


def _rows_of(arrays: Mapping[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    """Each row of a batch by itself, up to and with its last real token."""
    for row, mask in enumerate(arrays["attention_mask"]):
        length = int(mask.nonzero()[-1]) + 1
        yield {name: array[row : row + 1, :length] for name, array in arrays.items()}


def reference(recipe: Recipe, *, float32: bool) -> ReferenceModule:
    """HuggingFace's own blocks and masks, with the head behind them; a copy that shares the model's tensors.

    Args:
        recipe: Which model.
        float32: Compute in float32 whatever the weights' dtype.
    """
    part = part_of(recipe)
    twin = exportable(part)[0] if float32 else structural_copy(part)
    hide_ends(twin, recipe)
    return ReferenceModule(twin, recipe.task, head_of(recipe), alone=by_last_column(recipe, part)).eval()


@isolated
def check_graph(recipe: Recipe, model: OnnxModel) -> tuple[Verification, list[Reference]]:
    """The graph's numbers against HuggingFace's, on built-in texts and on rows that move what exporters get wrong.

    Returns:
        What was found, within the limits, and what HuggingFace's model gave.
    """
    how = Comparison(recipe.origin.name, model.outputs, recipe.task.scores, recipe.frames)
    config = recipe.origin.config()
    rules = recipe.architecture.rules(config, model.inputs)
    samples = random_samples(RowSpace(config, model.inputs, rules, tables(model.path), recipe.pools_end))
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
    if folder is None or recipe.architecture.inputs is not None or not recipe.task.reads_texts:
        return []
    facts = text_facts(recipe)
    longest = min(longest, facts.max_length, recipe.reach.limit or longest)
    with Cache().work_folder() as scratch:
        name = write_tokenizer(folder, scratch, recipe.origin.tokenizer_keywords)
        if name is None:
            return []
        tokenizer = Tokenizer.from_folder(scratch, replace(facts, tokenizer=name))
    rules = recipe.architecture.rules(recipe.origin.config(), model.inputs)
    space = RowSpace(recipe.origin.config(), model.inputs, rules, tables(model.path))
    found = text_samples(tokenizer, texts, space, longest=longest)
    for cut in cuts:
        if cut < longest:
            found += text_samples(tokenizer, (LONG,), space, longest=cut)
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
            do='add its model_type with the limit (docs: Add an architecture), or take the risk with verify="off"',
        ) from error


@isolated
def _run_module(module: nn.Module, arrays: Mapping[str, Array]) -> Arrays:
    with torch.no_grad():
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        return {name: value.float().numpy() for name, value in module(**tensors).items()}


def run_torch(recipe: Recipe, rows: Rows, specs: Sequence[TensorSpec], rules: RowRules, text: TextFacts) -> Arrays:
    """``generate(…, runtime_ai100=False)``: the torch model on checked rows; results are cut back alike.

    Args:
        recipe: Which model.
        rows: As ``inference.arrays.reader`` makes them for ``specs``.
        specs: As :func:`graph_specs` gives them.
        rules: As :func:`graph_rules` gives them.
        text: What fills a row.
    """
    return torch_run(recipe, specs, rules, text)(rows)


@isolated
def torch_run(
    recipe: Recipe, specs: Sequence[TensorSpec], rules: RowRules, text: TextFacts
) -> Callable[[Rows], Arrays]:
    """The torch model as a function of checked rows: :func:`run_torch` for many calls."""
    module = reference(recipe, float32=False)
    return isolated(partial(_run_rows, module, recipe, specs, rules, rules.fill(text)))


def _run_rows(
    module: ReferenceModule,
    recipe: Recipe,
    specs: Sequence[TensorSpec],
    rules: RowRules,
    fill: Mapping[str, int],
    rows: Rows,
) -> Arrays:
    everyone = range(len(rows))
    groups = [list(everyone)] if rules.pads else [[row] for row in everyone]
    parts = []
    for group in groups:
        width = rows.width if len(groups) == 1 else rows.lengths[group[0]]
        arrays = {spec.name: _stack(rows, spec, group, width, fill) for spec in specs}
        try:
            parts.append((group, _run_module(module, arrays)))
        except IndexError as error:
            raise _past_a_table(module.model, rows, error) from error
    if not recipe.per_token:
        return {name: np.concatenate([out[name] for _, out in parts]) for name in recipe.task.outputs}
    return {
        name: _gather([(group, out[name]) for group, out in parts], rows, rules.frames) for name in recipe.task.outputs
    }


def _past_a_table(model: Any, rows: Rows, error: IndexError) -> InputError:
    """What to raise for torch's error about a row that some table lacks: it names neither."""
    try:
        sizes = {"input_ids": model.get_input_embeddings().num_embeddings}
        Tables(sizes).check(rows)
    except InputError as named:
        return named
    except (AttributeError, NotImplementedError):  # no plain table, or none that the model tells of
        pass
    greatest = (
        f"{name} up to {max(int(np.asarray(each, np.int64).max()) for each in column)}"
        for name, column in rows.columns.items()
    )
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
