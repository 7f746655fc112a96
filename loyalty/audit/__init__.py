"""Whether the books are right, what they say is owed, and what time has made due."""
