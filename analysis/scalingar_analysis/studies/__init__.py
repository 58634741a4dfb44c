"""Measurements behind the documents: each is a module that prints its tables (`python -m`)."""
