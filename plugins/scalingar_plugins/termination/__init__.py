"""Termination policies: who may stay."""
