"""OLMo 3: as OLMo 2, with windows in most layers."""

from dataclasses import replace

from QEfficient.architectures import llama

ARCHITECTURE = replace(llama.ARCHITECTURE, model_type="olmo3", default_pad_id=1)
