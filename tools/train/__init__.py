"""The trainer of the tile codec's start state. `python -m tools.train --help`."""
