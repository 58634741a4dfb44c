"""Commands that read recordings; each is registered by name and loaded when it is used."""
