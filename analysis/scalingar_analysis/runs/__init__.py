"""Finished runs, opened for plots, tables and reports."""
