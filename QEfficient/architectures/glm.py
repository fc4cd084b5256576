"""GLM: as Llama, turning half of each head."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import llama
from QEfficient.architectures.record import rotary

ARCHITECTURE = replace(
    llama.ARCHITECTURE, model_type="glm", limit=partial(rotary, default=131072), default_pad_id=151329
)
