"""PEGASUS: as mBART, with a table of sines as positions."""

from dataclasses import replace

from QEfficient.architectures import bart

ARCHITECTURE = replace(bart.ARCHITECTURE, model_type="pegasus", default_pad_id=0)
