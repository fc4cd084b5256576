"""Falcon: as Llama, with attention and MLP side by side."""

from dataclasses import replace

from QEfficient.architectures import find
from QEfficient.architectures.record import Config


def refused(config: Config) -> str | None:
    """falcon-rw's ALiBi."""
    return "its ALiBi is computed in bfloat16, which programs do not hold" if config.get("alibi") else None


ARCHITECTURE = replace(find("llama"), model_type="falcon", refused=refused)
