"""Strings → token ids, with ``tokenizers`` and numpy alone."""
