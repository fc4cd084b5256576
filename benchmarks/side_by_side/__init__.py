"""What ``benchmarks/peers.py`` is made of: environments, workers, rounds, ratios, the limit, the report."""
