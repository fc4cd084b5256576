"""ERNIE 4.5: as Llama, with another order in each head."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import llama
from QEfficient.architectures.record import rotary

ARCHITECTURE = replace(
    llama.ARCHITECTURE, model_type="ernie4_5", limit=partial(rotary, default=131072), default_pad_id=0
)
