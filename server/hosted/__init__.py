"""Hosted sessions: each an X server and a program, with a home and a user of their own, and nothing left of them."""
