"""ModernBERT as a decoder: windows in most layers."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import llama
from QEfficient.architectures.record import rotary

ARCHITECTURE = replace(
    llama.ARCHITECTURE, model_type="modernbert-decoder", limit=partial(rotary, default=8192), default_pad_id=50283
)
