"""Llama: rotary positions, and a causal mask that the model makes itself. Most decoders are as Llama."""

from QEfficient.architectures.record import Architecture, rotary

ARCHITECTURE = Architecture(model_type="llama", limit=rotary)
