"""Mistral: as Llama; its own mask holds the window."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import llama
from QEfficient.architectures.record import rotary

ARCHITECTURE = replace(llama.ARCHITECTURE, model_type="mistral", limit=partial(rotary, default=131072))
