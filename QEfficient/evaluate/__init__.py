"""Compiled models in benchmarks that people already use. Needs the extra ``evaluate``."""
