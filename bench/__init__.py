"""Benchmarks: figures that the documents quote, each by a command."""
