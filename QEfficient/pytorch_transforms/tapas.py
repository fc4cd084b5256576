"""TAPAS' embeddings, whose positions start anew in every cell of a table, without a table of all cells."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from QEfficient.pytorch_transforms.blocks import Block

COLUMN, ROW = 1, 2  # places among a token's types


class Embeddings(Block):
    """In place of ``TapasEmbeddings``, which scatters first positions into 65,536 cells a row of the batch.

    Two tokens are of one cell where both their column and their row are equal; a token's position is counted from the
    first such one.
    """

    def __init__(self, old: Any) -> None:
        super().__init__(old)
        self.config, self.tables = old.config, old.number_of_token_type_embeddings
        self.word_embeddings, self.position_embeddings = old.word_embeddings, old.position_embeddings
        for table in range(self.tables):
            name = f"token_type_embeddings_{table}"
            setattr(self, name, getattr(old, name))
        self.LayerNorm = old.LayerNorm

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, **_: Any) -> Tensor:
        """As the old block, for ids and types: (batch, length) and (batch, length, 7) → (batch, length, width)."""
        states: Tensor = self.word_embeddings(input_ids) + self.position_embeddings(self._positions(token_type_ids))
        for table in range(self.tables):
            states = states + getattr(self, f"token_type_embeddings_{table}")(token_type_ids[:, :, table])
        normed: Tensor = self.LayerNorm(states)
        return normed

    def _positions(self, types: Tensor) -> Tensor:
        """(batch, length), or (1, length) where cells do not count."""
        places = torch.arange(types.shape[1])[None]
        if not self.config.reset_position_index_per_cell:
            return places
        cells = types[:, :, COLUMN] * self.config.type_vocab_sizes[ROW] + types[:, :, ROW]
        same = cells[:, :, None] == cells[:, None, :]
        first = torch.where(same, places[:, None, :], types.shape[1]).amin(dim=-1)
        return torch.clamp(places - first, max=self.config.max_position_embeddings - 1)
