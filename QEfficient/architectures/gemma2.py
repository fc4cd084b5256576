"""Gemma 2: as Gemma, with capped logits and windows in every other layer."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import llama
from QEfficient.architectures.record import rotary

ARCHITECTURE = replace(llama.ARCHITECTURE, model_type="gemma2", limit=partial(rotary, default=8192), default_pad_id=0)
