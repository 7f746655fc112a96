"""Households: members whose points can be spent together, each by the member's own consent."""
