"""Long runs on real weights and texts, each a `make` target: what the tests show small, in full."""
