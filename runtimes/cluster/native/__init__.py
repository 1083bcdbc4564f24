"""The kernels in C99: sources, how they are built, and how Python calls them."""
