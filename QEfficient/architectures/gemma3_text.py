"""Gemma 3: as Gemma; also with a mask that sees both sides (``use_bidirectional_attention``)."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import llama
from QEfficient.architectures.record import rotary

ARCHITECTURE = replace(
    llama.ARCHITECTURE, model_type="gemma3_text", limit=partial(rotary, default=131072), default_pad_id=0
)
