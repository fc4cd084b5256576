"""Funnel: refused, a graph of it has one length."""

from QEfficient.architectures.record import Architecture, Config, no_limit


def refused(config: Config) -> str:
    """``FunnelAttentionStructure.get_position_embeds`` pools a Python list of the row's positions."""
    return "its code counts positions in a Python list, so that a graph could only take rows of one length"


ARCHITECTURE = Architecture(model_type="funnel", limit=no_limit, refused=refused)
