"""Phi-3: as Llama; the LongRoPE kinds take what they were first trained for, 4096 tokens."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import llama
from QEfficient.architectures.record import rotary

ARCHITECTURE = replace(llama.ARCHITECTURE, model_type="phi3", limit=partial(rotary, default=4096), default_pad_id=32000)
