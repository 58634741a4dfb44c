"""What a new per-step signal is worth."""
