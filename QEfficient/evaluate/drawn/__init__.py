"""Evaluations and comparisons in the forms that people look at: tables, text, a page."""
