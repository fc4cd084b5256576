"""PEGASUS-X: its attention cuts a row into blocks."""

from dataclasses import replace

from QEfficient.architectures import bart, longt5

ARCHITECTURE = replace(bart.ARCHITECTURE, model_type="pegasus_x", refused=longt5.refused)
