"""Text in, text out: ``engine.py`` schedules sequences over the slots of a session that keeps state."""
