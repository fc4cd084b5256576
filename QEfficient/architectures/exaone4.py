"""EXAONE 4: as Llama, with windows in most layers."""

from dataclasses import replace

from QEfficient.architectures import llama

ARCHITECTURE = replace(llama.ARCHITECTURE, model_type="exaone4")
