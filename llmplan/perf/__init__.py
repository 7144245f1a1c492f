"""Physics: pure functions from shapes and devices to FLOP, bytes and seconds. Arrays in, arrays out."""
