"""OLMo 2: as Llama, with the norms behind the blocks."""

from dataclasses import replace

from QEfficient.architectures import llama

ARCHITECTURE = replace(llama.ARCHITECTURE, model_type="olmo2", default_pad_id=1)
