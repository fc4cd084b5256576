"""torch.onnx makes its table of operators anew for each export, a fifth of a tiny model's; no export changes it."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def once() -> Iterator[None]:
    """While it is entered, the table is made by the first export and kept for the others of the process."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    made = functools.cache(ONNXRegistry.from_torchlib)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(lambda opset_version: made(opset_version)))
        yield
