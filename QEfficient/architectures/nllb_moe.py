"""NLLB-MoE: its experts are picked over the whole batch."""

from dataclasses import replace

from QEfficient.architectures import bart
from QEfficient.architectures.record import Config


def refused(config: Config) -> str:
    """Whatever the config says."""
    return "its experts take tokens by their place in the whole batch, so a row's numbers depend on its neighbours"


ARCHITECTURE = replace(bart.ARCHITECTURE, model_type="nllb-moe", refused=refused)
