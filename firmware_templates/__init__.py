"""All C and project text that the code generator fills in (jinja2, no Python logic)."""
