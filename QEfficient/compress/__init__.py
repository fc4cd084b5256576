"""Smaller numbers: matrix products in int8, and which of them may not be."""
