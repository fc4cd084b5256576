"""Torch → torch: block swaps, fp16-safe rewrites, heads. Nothing is imported here: ``pooling`` needs no torch."""
