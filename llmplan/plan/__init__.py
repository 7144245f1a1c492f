"""Decisions: which replicas to rent, and how to route to them. Pure: nothing here reads a file."""
