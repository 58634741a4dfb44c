"""Samplers: which tokens are appended to which histories."""
