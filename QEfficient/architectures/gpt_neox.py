"""GPT-NeoX: rotary positions on a part of each head."""

from dataclasses import replace

from QEfficient.architectures import llama

ARCHITECTURE = replace(llama.ARCHITECTURE, model_type="gpt_neox")
