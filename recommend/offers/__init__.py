"""Offers: what the programme gives at this place now, and what a member is near to."""
