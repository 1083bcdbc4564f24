"""Lowering of a graph and its plan to readable C99."""
