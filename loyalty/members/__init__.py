"""Members and the identifiers they show on each channel."""
