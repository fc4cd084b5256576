"""A loaded program: texts to rows, rows to results."""
