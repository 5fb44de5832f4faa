"""The tilewire server: X in, wire out."""
