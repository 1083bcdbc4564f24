"""Planning: in which order and where in memory a graph is executed."""
