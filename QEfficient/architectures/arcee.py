"""Arcee: as Llama, with squared ReLU."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import llama
from QEfficient.architectures.record import rotary

ARCHITECTURE = replace(llama.ARCHITECTURE, model_type="arcee", limit=partial(rotary, default=4096))
