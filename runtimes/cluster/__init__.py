"""The cluster runtime: one language model over several weak machines."""
