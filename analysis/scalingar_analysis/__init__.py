"""Placeholder docstring; registration follows."""
