"""Weights by name: which repository holds them, how they are fetched, and what is here already."""
