"""From a prompt to pictures and a run folder."""
