"""LlamaGen (arXiv 2406.06525): text- or class-conditional, on the decoder of `models.decoder`."""
