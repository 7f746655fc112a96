"""How a model comes to be served: trained, compared, kept, brought to every node, taken back."""
