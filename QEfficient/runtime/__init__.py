"""Rows of token ids → batches → session → results in the caller's order. Needs numpy only."""
