"""Experiments: variants of model and rules side by side, on members who agree to it."""
