"""Image synthesis from a network's representation."""
