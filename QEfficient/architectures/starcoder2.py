"""StarCoder 2: as Llama, with a window."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import llama
from QEfficient.architectures.record import rotary

ARCHITECTURE = replace(llama.ARCHITECTURE, model_type="starcoder2", limit=partial(rotary, default=4096))
