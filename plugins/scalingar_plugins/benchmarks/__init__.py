"""Benchmarks: prompts, scorer and tags."""
