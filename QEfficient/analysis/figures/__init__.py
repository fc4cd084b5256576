"""The figures of an analysis: each function takes what it draws, a record or several, and gives a figure or a tile."""
