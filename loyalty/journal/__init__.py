"""The journal: every fact about a member's points is one entry, appended once."""
