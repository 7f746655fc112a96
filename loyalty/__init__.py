"""Points, members, consent and the journal they live in: everything Carnet knows of loyalty."""
