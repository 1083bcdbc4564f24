"""Fixed C99 support code that is copied into every generated project."""
