"""Gemma: as Llama, with embeddings scaled up."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import llama
from QEfficient.architectures.record import rotary

ARCHITECTURE = replace(llama.ARCHITECTURE, model_type="gemma", limit=partial(rotary, default=8192), default_pad_id=0)
