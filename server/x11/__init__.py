"""The X side of a display, piece by piece. `tilewire.server.display` is its face; nothing else imports from
here.
"""
