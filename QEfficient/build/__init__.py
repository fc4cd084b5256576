"""From a request to a program: export, check, compile."""
