"""Qwen3: as Llama, with norms on queries and keys."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import llama
from QEfficient.architectures.record import rotary

ARCHITECTURE = replace(llama.ARCHITECTURE, model_type="qwen3", limit=partial(rotary, default=32768))
