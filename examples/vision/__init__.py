"""Convolutional networks of the well-known families, written out in PyTorch, ready to import."""
