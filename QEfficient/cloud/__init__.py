"""The vendor's scripts, with their flags: ``python -m QEfficient.cloud.infer``."""
