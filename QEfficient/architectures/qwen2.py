"""Qwen2: as Llama, with biases in the projections."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import llama
from QEfficient.architectures.record import rotary

ARCHITECTURE = replace(llama.ARCHITECTURE, model_type="qwen2", limit=partial(rotary, default=32768))
