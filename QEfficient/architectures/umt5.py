"""UMT5: as T5, with relative positions of its own in every layer."""

from dataclasses import replace

from QEfficient.architectures import t5

ARCHITECTURE = replace(t5.ARCHITECTURE, model_type="umt5")
