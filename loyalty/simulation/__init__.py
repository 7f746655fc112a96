"""What a draft of the programme would have cost on the shop's own past."""
