"""Smaller models: numbers in fewer bits, fewer units and layers, fewer words; the guard and the record of each step."""
