"""GPT-BigCode: as GPT-2, with one key and value for all heads."""

from dataclasses import replace

from QEfficient.architectures import gpt2

ARCHITECTURE = replace(gpt2.ARCHITECTURE, model_type="gpt_bigcode")
