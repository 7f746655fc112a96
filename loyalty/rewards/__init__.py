"""What points are for: a catalogue of rewards, points as payment, and their redemption."""
