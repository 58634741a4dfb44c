"""Guidance schedules: how hard the prompt is pushed."""
