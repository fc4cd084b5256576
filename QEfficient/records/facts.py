"""What a program's manifest says of its model, of a decoder's caches, and of its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from QEfficient.records.tensors import Json

CONFIG_KEY = "qefficient"  # our entry of a model's config.json: transformers keeps what it does not know


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Where a program comes from.

    Attributes:
        name: Repo id or folder name, as the user gave it.
        model_class: Class name of the wrapped HuggingFace model, ``"BertModel"``.
        model_type: HuggingFace's ``model_type``, ``"bert"``.
        task: ``"feature-extraction"``, … as HuggingFace names it.
        head: The steps behind the encoder, one JSON object each (``{"step": "pooling", "modes": ["mean"]}``).
        dim: Width of the output's last dim.
        config: File name of the model's ``config.json`` in the folder.
    """

    name: str
    model_class: str
    model_type: str
    task: str
    head: tuple[Mapping[str, Json], ...] = ()
    dim: int | None = None
    config: str | None = None


@dataclass(frozen=True, slots=True)
class DecoderFacts:
    """What a program that writes text is compiled for.

    Attributes:
        ctx_len: Positions of a slot's caches. A sequence, prompt and answer together, has at most :attr:`room`.
        cache_slots: Sequences that the caches hold (``kv_cache_batch_size``), without the graph's scratch slot.
        decode_rows: Most sequences of one decode (``full_batch_size``); the very number where shapes are fixed.
        prefill_len: Tokens of a prompt's chunk: the very number where shapes are fixed, the most elsewhere.
        continuous: True where the graph is addressed by slots (``batch_index``); False: row n has slot n.
        kept_logits: Last positions of a row that logits may be asked for: 1, or one more than speculative tokens.
        rewinds: False where a layer keeps a window of the last positions only: a slot then goes on at its end alone,
            or behind as many of its last tokens as may be speculated, which were not chosen.
        speculated: Tokens that are drafted at once where a request does not say how many: ``num_speculative_tokens``.
        encoder_ctx_len: Of a model with an encoder, positions of a slot's cross caches, which hold its source.
    """

    ctx_len: int
    cache_slots: int
    decode_rows: int
    prefill_len: int
    continuous: bool = True
    kept_logits: int = 1
    rewinds: bool = True
    speculated: int = 0
    encoder_ctx_len: int | None = None

    @property
    def room(self) -> int:
        """Positions that a sequence may take. Without slots a dropped write goes to the last one, so it stays free."""
        return self.ctx_len if self.continuous else self.ctx_len - 1

    @property
    def source_room(self) -> int:
        """Most tokens of a source, by the same rule; 0 where there is no encoder to read one."""
        return 0 if self.encoder_ctx_len is None else self.encoder_ctx_len - (not self.continuous)

    @property
    def has_encoder(self) -> bool:
        """Whether the program reads sources."""
        return self.encoder_ctx_len is not None


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Size in bytes and SHA-256 of one file of a folder."""

    size: int
    sha256: str
