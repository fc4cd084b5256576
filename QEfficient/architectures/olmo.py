"""OLMo: as Llama, with norms that have no weights."""

from dataclasses import replace

from QEfficient.architectures import llama

ARCHITECTURE = replace(llama.ARCHITECTURE, model_type="olmo", default_pad_id=1)
