"""The command line: reads arguments, calls one use case, prints. No arithmetic."""
