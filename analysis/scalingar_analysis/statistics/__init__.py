"""Intervals, tests and budget-matched baselines."""
