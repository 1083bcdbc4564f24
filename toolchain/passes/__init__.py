"""Graph passes: a graph in, an equal and simpler graph out."""
