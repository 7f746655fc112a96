"""Batches: what a till or a queue saw while it was offline, sent as one stream of lines."""
