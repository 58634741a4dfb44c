"""Model adapters and the networks that they run."""
