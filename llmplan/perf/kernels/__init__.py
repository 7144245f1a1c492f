"""Seconds of measured kernels: a physical form a family, few named parameters for each GPU and library."""
