"""What a model is: its files or a module in memory, its recipe, length limits and head."""
