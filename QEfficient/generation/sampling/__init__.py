"""From logits to a token, in numpy: what changes logits (``penalties``, ``bans``), what cuts them off (``filters``).

Each function has the numbers of the processor of transformers 5.24 that it is named after; ``chain`` has their order.
"""
