"""FSMT: as M2M-100, with a vocabulary for each language."""

from dataclasses import replace

from QEfficient.architectures import bart

ARCHITECTURE = replace(bart.ARCHITECTURE, model_type="fsmt")
