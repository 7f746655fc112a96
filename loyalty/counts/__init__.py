"""How many decisions on consents there were, over time; no member in it."""
