"""The vocabulary pruned to a domain: fewer rows of the word table, and the tokenizer that goes with them."""
