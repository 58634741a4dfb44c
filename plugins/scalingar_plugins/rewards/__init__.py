"""Rewards: how good a completed candidate is. Selectors take them as their part `reward`."""
