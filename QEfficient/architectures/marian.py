"""Marian: as BART, with a table of sines as positions."""

from dataclasses import replace

from QEfficient.architectures import bart

ARCHITECTURE = replace(bart.ARCHITECTURE, model_type="marian", default_pad_id=58100)
