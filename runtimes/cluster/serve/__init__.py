"""OpenAI-compatible HTTP server over a scheduler of generations."""
