"""The rights of members: what is held about them, and how they have it changed or erased."""
