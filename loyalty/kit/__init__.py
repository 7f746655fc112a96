"""The workshop: errors, HTTP, MongoDB, settings, clock. Not a word of loyalty in here."""
