"""Plots, one concept per module.

Each function takes a run's prompt (`Generation`, `Trace`, `Example`) or plain arrays, and an
optional Axes, and returns the Axes. `scalingar_analysis.plots.plot_registry` names them all.
"""
