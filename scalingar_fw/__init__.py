"""Test-time scaling for autoregressive image models."""
