"""Who looked at which member's data, and what for. The member can see it, too."""
