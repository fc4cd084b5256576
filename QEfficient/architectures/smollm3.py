"""SmolLM3: as Llama, with layers that have no positions."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import llama
from QEfficient.architectures.record import rotary

ARCHITECTURE = replace(
    llama.ARCHITECTURE, model_type="smollm3", limit=partial(rotary, default=32768), default_pad_id=128004
)
