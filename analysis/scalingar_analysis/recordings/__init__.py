"""Complete candidates with all their signals: written once, read by replay and the lab."""
