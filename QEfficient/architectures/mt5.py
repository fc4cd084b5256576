"""mT5: as T5."""

from dataclasses import replace

from QEfficient.architectures import t5

ARCHITECTURE = replace(t5.ARCHITECTURE, model_type="mt5")
