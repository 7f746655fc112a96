"""What the shop wants to be shown, as data: lifted, sunk, pinned, hidden, mixed."""
