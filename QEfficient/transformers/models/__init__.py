"""Import paths that people know from the vendor's package. Re-exports only."""
