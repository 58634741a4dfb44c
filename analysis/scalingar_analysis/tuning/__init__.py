"""Search of a policy's settings by replay."""
