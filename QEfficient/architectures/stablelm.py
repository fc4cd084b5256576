"""StableLM: as Llama, turning a part of each head."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import llama
from QEfficient.architectures.record import rotary

ARCHITECTURE = replace(llama.ARCHITECTURE, model_type="stablelm", limit=partial(rotary, default=4096))
