"""What to show a person next, within what that person agreed to."""
