"""Confidence estimators: what can be read off the logits."""
