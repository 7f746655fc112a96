"""Programme versions: publish, keep forever, choose the one that ruled at a moment."""
