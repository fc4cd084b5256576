"""GLM-4: as GLM, with more norms."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import llama
from QEfficient.architectures.record import rotary

ARCHITECTURE = replace(
    llama.ARCHITECTURE, model_type="glm4", limit=partial(rotary, default=131072), default_pad_id=151329
)
