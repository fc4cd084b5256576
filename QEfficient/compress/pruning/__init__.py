"""Fewer heads, inner values and layers: what can be taken out of a model, and taking it out."""
