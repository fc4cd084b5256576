"""Where a model comes from: its files, or a module in memory. Both have the same methods."""

from __future__ import annotations

from QEfficient.source.checkpoint import Checkpoint
from QEfficient.source.loaded_module import LoadedModule

Origin = Checkpoint | LoadedModule
