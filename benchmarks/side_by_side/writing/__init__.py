"""What ``benchmarks/peers_generation.py`` is made of: who writes text, in which forms, cases, rounds, the report."""
