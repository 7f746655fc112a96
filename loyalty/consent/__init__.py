"""What each member agreed to: append-only records, and the one gate that all uses pass."""
