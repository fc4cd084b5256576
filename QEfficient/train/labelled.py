"""What a row becomes: inputs by name, and labels."""

from __future__ import annotations

from typing import Any

Feature = dict[str, Any]
"""A row's inputs, and its ``labels``; or a batch of them."""

IGNORED = -100
"""The label of what does not count, as torch's losses have it."""
