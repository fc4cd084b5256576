"""What compiles and runs programs. ``base.py`` is the seam, ``registry.py`` finds a backend by name."""
