"""Boards as data: one TOML file each, and one small loader."""
