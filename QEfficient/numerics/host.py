"""A graph in fp32 on the host: what others are compared with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from QEfficient.backends import host_program, registry
from QEfficient.backends.base import Session
from QEfficient.cache import Cache
from QEfficient.records import MODEL, CompileOptions, OnnxModel, Shape, Target

HOST = "fp32 on the host"
CHECKED_ON = "onnxruntime"
"""The backend that a graph's own check runs on."""


@contextmanager
def host_session(model: OnnxModel, bucket: Shape, *, plain: bool = False) -> Iterator[Session]:
    """A graph in fp32 on the host, for rows up to ``bucket``'s length; ``plain``: as it is, nothing joined."""
    backend = registry.get(CHECKED_ON)
    with Cache().work_folder() as folder:
        target = Target(backend=backend.name, compute=backend.compute[0])
        make = partial(host_program.make, backend.compute) if plain else backend.compile
        program = make({MODEL: model}, {MODEL: (bucket,)}, target, CompileOptions(), folder)
        with backend.open(program) as session:
            yield session
