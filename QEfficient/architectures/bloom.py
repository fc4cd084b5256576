"""BLOOM: ALiBi, a bias by distance that is counted by the mask; any length."""

from QEfficient.architectures.record import Architecture, no_limit

ARCHITECTURE = Architecture(model_type="bloom", limit=no_limit)
