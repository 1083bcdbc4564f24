"""Readers of the model formats: Hugging Face safetensors, GGUF, llama2.c."""
