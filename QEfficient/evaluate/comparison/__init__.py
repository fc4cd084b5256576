"""Several models on the same rows, side by side."""
