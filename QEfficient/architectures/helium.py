"""Helium: as Llama."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import llama
from QEfficient.architectures.record import rotary

ARCHITECTURE = replace(llama.ARCHITECTURE, model_type="helium", limit=partial(rotary, default=4096), default_pad_id=3)
