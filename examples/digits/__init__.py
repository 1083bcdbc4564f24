"""The network of the README: handwritten digits on a microcontroller."""
