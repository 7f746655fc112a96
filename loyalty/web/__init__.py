"""Pages for people: the preference centre, confirmations, unsubscribing."""
