"""The only call of ``torch.onnx.export`` in the library: dynamo exporter, opset 18, external data from the start."""

from __future__ import annotations

import importlib
import logging
import math
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn

from QEfficient.errors import ExportError, NumericsError, QEfficientError
from QEfficient.export.decompositions import only_where_needed
from QEfficient.export.isolated import isolated
from QEfficient.export.process_wide import one_at_a_time
from QEfficient.export.promotions import only_changed_nodes
from QEfficient.export.split_rule import only_where_first_fits
from QEfficient.export.work_thread import shielded
from QEfficient.pytorch_transforms.forward import argument
from QEfficient.pytorch_transforms.speech import MaskedWrites
from QEfficient.records import BATCH_DIM, LENGTH_DIM, TensorSpec

OPSET = 18
"""What the vendor's own dynamo exports use; higher ones are undocumented for the card's compiler."""

FRAMES_DIM = "frames"

# Sizes of the traced example's dims; none is 0 or 1, which torch.export would make constants.
_EXAMPLE_BATCH, _EXAMPLE_LENGTH, _EXAMPLE_OTHER = 2, 16, 19

# Messages of the exporter that are wrong or no one's business, each matched from its first character.
_NOISE = (
    # It keeps the names: all axes are named as asked, in inputs and outputs.
    (r"# The axis name: \w+ will not be used, since it shares the same shape", UserWarning),
    # torch copying its own tree specs.
    (r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning),
    # transformers' WavLM calls torch so.
    (r"Support for mismatched key_padding_mask and attn_mask is deprecated", UserWarning),
)
_EXPORTS = threading.Lock()  # torch.export keeps its state in globals: two at once break each other

Outputs = Sequence[str | TensorSpec]
"""A graph's outputs, in order: their names; or specs, whose shapes name the dims that are computed from the inputs'."""

_REGISTRATION = "torch.onnx._internal.exporter._registration"


@contextmanager
def traced(
    module: nn.Module,
    *,
    inputs: Sequence[TensorSpec],
    outputs: Outputs = ("output",),
    length_limit: int | None = None,
    shortest: int = 1,
    limits: Mapping[str, int] | None = None,
) -> Iterator[ir.Model]:
    """A module's graph, in memory until the block ends. It shares the module's weights.

    Args:
        module: Its forward takes ``inputs`` by name. Its attention is eager and its tensors float32 already, as
            ``pytorch_transforms.blocks.exportable`` makes them. It is exported in eval mode; its own mode is put back.
        inputs: The graph's inputs, in the order of the forward's parameters. Their shapes name the free dims:
            ``batch_size``, ``seq_len`` and any other.
        outputs: The graph's outputs.
        length_limit: Most tokens that a row can have, where the model has such a limit.
        shortest: Least tokens, or samples, that a row can have.
        limits: Other free dim → its most, where the model has such limits.

    Yields:
        The graph, with the inputs' free dims; a computed one that nobody named is called ``frames``.

    Raises:
        NumericsError: A weight is NaN or infinite.
        ExportError: The exporter refused the module; its own error is the cause.
    """
    with one_at_a_time(_EXPORTS):
        most = {dim: limit for dim, limit in {LENGTH_DIM: length_limit, **(limits or {})}.items() if limit is not None}
        model, weights = _graph_of(module, inputs, outputs, most, shortest)
    weights += model.graph.initializers.values()
    try:
        yield model
    finally:
        for weight in (*weights, *model.graph.initializers.values()):
            weight.const_value = None  # onnxscript's rewrite rules hold the last graph that they saw, not its weights


@isolated
def _graph_of(
    module: nn.Module, inputs: Sequence[TensorSpec], outputs: Outputs, limits: Mapping[str, int], shortest: int
) -> tuple[ir.Model, list[ir.Value]]:
    """The graph, and the weights that it had before it was optimised."""
    check_finite(module)
    with shielded("torch's tracing"), _eval_mode(module), _quiet(), torch.no_grad(), MaskedWrites():
        try:
            with only_where_needed(), only_changed_nodes(), _no_fake_tensor_cache():
                program = _trace(module, inputs, outputs, limits, shortest)
            weights = list(program.model.graph.initializers.values())
            with only_where_first_fits():
                program.optimize()
            _name_computed(program.model.graph.outputs, outputs, _free(inputs))
        except Exception as error:  # the exporter raises what it likes, torch's internal errors among them
            if any(isinstance(one, KeyboardInterrupt) for one in _behind(error)):
                raise KeyboardInterrupt from error  # torch's clean-up failed on the way out, which hid the Ctrl-C
            if (own := next((one for one in _behind(error) if isinstance(one, QEfficientError)), None)) is not None:
                raise own from error  # a module of ours refused: it names the reason, and needs no words around it
            raise ExportError(
                f"The ONNX exporter refused {_name(module)}.",
                got=f"{type(error).__name__}: {_first_lines(error)}",
                allowed="a forward whose shapes depend on the inputs' shapes only",
                do="the cause below names the line of the model; a pooling function must use torch operators only",
            ) from error
    return program.model, weights


def _free(inputs: Sequence[TensorSpec]) -> list[str]:
    """The inputs' free dims, in their order."""
    return list(dict.fromkeys(dim for spec in inputs for dim in spec.shape if isinstance(dim, str)))


def _trace(
    module: nn.Module, inputs: Sequence[TensorSpec], outputs: Outputs, limits: Mapping[str, int], shortest: int
) -> Any:
    least = None if shortest == 1 else shortest  # torch's own least; a 1 would be a promise that lengths differ from 0
    others = [dim for dim in _free(inputs) if dim != LENGTH_DIM]
    free = {dim: torch.export.Dim(dim, max=limits.get(dim)) for dim in others}
    free[LENGTH_DIM] = torch.export.Dim(LENGTH_DIM, min=least, max=limits.get(LENGTH_DIM))
    sizes = {dim: _EXAMPLE_OTHER + place for place, dim in enumerate(others)}
    sizes |= {BATCH_DIM: _EXAMPLE_BATCH, LENGTH_DIM: _EXAMPLE_LENGTH * shortest}
    sizes |= {dim: min(sizes[dim], limit) for dim, limit in limits.items() if dim in sizes}
    example = {argument(spec.name): _example(spec, [sizes.get(str(dim), dim) for dim in spec.shape]) for spec in inputs}
    shapes = {
        argument(spec.name): {axis: free[dim] for axis, dim in enumerate(spec.shape) if isinstance(dim, str)}
        for spec in inputs
    }
    program = torch.onnx.export(
        module,
        kwargs=example,
        dynamo=True,
        opset_version=OPSET,
        input_names=[spec.name for spec in inputs],
        output_names=[one if isinstance(one, str) else one.name for one in outputs],
        dynamic_shapes=shapes,
        external_data=True,
        optimize=False,  # done by export(), which must know the weights that it replaces
        verbose=False,
    )
    assert program is not None  # dynamo=True always returns one; the stubs allow the other exporter's None
    return program


def _example(spec: TensorSpec, shape: Sequence[Any]) -> Tensor:
    if spec.dtype != "int64":
        return torch.linspace(-1.0, 1.0, math.prod(shape)).reshape(*shape)
    example = torch.full(shape, spec.harmless, dtype=torch.int64)
    if spec.name == "attention_mask":  # with padding, as an all-ones mask can be a special case
        example[1, shape[1] // 2 :] = 0
    return example


def _name_computed(values: Sequence[Any], outputs: Outputs, free: Sequence[str]) -> None:
    """A dim that is computed from the inputs' gets a name in place of its formula, which no reader needs."""
    for value, wanted in zip(values, outputs, strict=True):
        named = dict(enumerate(wanted.shape)) if isinstance(wanted, TensorSpec) else {}
        for axis, dim in enumerate(value.shape or ()):
            if not isinstance(dim, int) and str(dim.value) not in free:
                value.shape[axis] = named.get(axis, FRAMES_DIM)


def check_finite(module: nn.Module) -> None:
    """Refuses NaN and infinite weights. It reads each tensor once and makes no copy.

    Raises:
        NumericsError: Names the first such tensor.
    """
    for name, tensor in chain(module.named_parameters(), module.named_buffers()):
        if not tensor.is_floating_point() or tensor.numel() == 0:
            continue
        low, high = torch.aminmax(tensor.detach())
        if not (torch.isfinite(low) and torch.isfinite(high)):
            raise NumericsError(
                "A weight of the model is not a finite number.",
                got=f"{name}: least {low.item()}, greatest {high.item()}",
                allowed="finite float32 numbers",
                do="load the weights again, or repair them before wrapping the model",
            )


@contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def _quiet() -> Iterator[None]:
    """Holds back exactly the known noise of the exporter, for the time of the call."""
    logger = logging.getLogger(_REGISTRATION)

    def not_torchvision(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("torchvision is not installed. Skipping torchvision::")

    logger.addFilter(not_torchvision)
    try:
        with warnings.catch_warnings():
            for message, category in _NOISE:
                warnings.filterwarnings("ignore", message, category)
            yield
    finally:
        logger.removeFilter(not_torchvision)


def _no_fake_tensor_cache() -> AbstractContextManager[None]:
    """While it is entered, a trace looks up no operator's result: with free dims the keys cost more than they save.

    An export of a Qwen3, a ModernBERT or an MPNet takes a fifth less, a BERT's the same; the graphs are equal.
    """
    config: Any = importlib.import_module("torch._dynamo.config")  # torch.export imports it, and only that needs it
    known = hasattr(config, "fake_tensor_cache_enabled")  # else another torch: its own way, at its own pace
    patch: AbstractContextManager[None] = config.patch(fake_tensor_cache_enabled=False) if known else nullcontext()
    return patch


def _name(module: nn.Module) -> str:
    return type(getattr(module, "encoder", module)).__name__


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and every other one that led to it or that was being handled when it came."""
    if error is not None:
        yield error
        yield from _behind(error.__cause__)
        if error.__context__ is not error.__cause__:
            yield from _behind(error.__context__)


def _first_lines(error: Exception, lines: int = 6, width: int = 200) -> str:
    """The beginning of the error at the root, where the reason stands."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return "\n           ".join(line[:width] for line in str(error).strip().splitlines()[:lines])
