"""PLBART: as BART."""

from dataclasses import replace

from QEfficient.architectures import bart

ARCHITECTURE = replace(bart.ARCHITECTURE, model_type="plbart")
