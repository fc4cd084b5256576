"""What models answer to examples."""
