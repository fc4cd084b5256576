"""Ministral: as Llama, with windows in some layers."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import llama
from QEfficient.architectures.record import rotary

ARCHITECTURE = replace(llama.ARCHITECTURE, model_type="ministral", limit=partial(rotary, default=131072))
