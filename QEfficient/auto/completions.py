"""What fills in a request to compile: each completion is a function from request to request."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from QEfficient.build.graph_stage import with_graph
from QEfficient.build.request import CompileRequest, with_defaults
from QEfficient.build.subject import ModelSubject
from QEfficient.diagnostics.buckets import buckets_for_texts
from QEfficient.diagnostics.doctor import with_precision_file
from QEfficient.diagnostics.recommend import options_for_objective

Completion: TypeAlias = tuple[str, Callable[[CompileRequest, ModelSubject], CompileRequest]]
COMPLETIONS: tuple[Completion, ...] = (
    ("objective", options_for_objective),
    ("most_buckets", buckets_for_texts),
    ("backend", with_defaults),
    ("onnx_path", with_graph),
    ("precision_file", with_precision_file),
)
"""What fills in a request to compile, in this order: the field that asks for it, and a function that takes the request
and the model, and gives the request back filled in. Every request has a backend."""
