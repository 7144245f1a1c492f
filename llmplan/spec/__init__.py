"""The nouns: what a thing is, how it is read and checked. Nothing here computes a time."""
