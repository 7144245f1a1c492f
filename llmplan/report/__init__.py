"""Nouns → text: sections once, then a table, Markdown, CSV, JSON or YAML of them."""
