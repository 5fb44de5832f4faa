"""What vector_payloads.py holds. Payloads are hex, white space between."""

from typing import NamedTuple


class Tile(NamedTuple):
    """One rectangle for the codec."""

    width: int
    height: int
    sha256: str
    """Of the pixels as stored: what the encoder was given."""
    payload: str


class Series(NamedTuple):
    """Tiles one after the other in the same model, after a reset."""

    name: str
    about: str
    format: str
    model_kib: int
    tiles: tuple[Tile, ...]


class Segment(NamedTuple):
    """A JPEG message's fields."""

    name: str
    width: int
    height: int
    quality: int
    sampling: int
    payload: str
