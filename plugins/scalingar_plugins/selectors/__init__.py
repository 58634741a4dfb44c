"""Selectors: which completed candidate is the answer."""
