"""Jina embeddings v3: XLM-RoBERTa with rotary positions."""

from functools import partial

from QEfficient.architectures.record import Architecture, rotary

ARCHITECTURE = Architecture(
    model_type="jina_embeddings_v3", limit=partial(rotary, default=8194), default_pad_id=1, default_types=1
)
