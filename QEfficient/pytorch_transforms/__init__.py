"""Torch → torch: block swaps, fp16-safe rewrites, pooling heads. Nothing is imported here: ``pooling`` needs no torch."""
