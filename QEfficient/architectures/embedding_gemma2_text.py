"""EmbeddingGemma 2 on text: Gemma's layers, read in both directions."""

from functools import partial

from QEfficient.architectures.record import Architecture, rotary

ARCHITECTURE = Architecture(model_type="embedding_gemma2_text", limit=partial(rotary, default=262144), default_pad_id=0)
