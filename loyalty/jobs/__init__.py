"""Long work outside of requests: asked for, carried out by one worker at a time, read back."""
