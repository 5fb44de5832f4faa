"""Set-up, generators, and what demo and benchmarks share."""
