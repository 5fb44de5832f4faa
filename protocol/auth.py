"""The mutual proof: that both ends know the device's key, and that neither replays an earlier handshake.

    proof = HMAC-SHA256(key, role label || SHA-256(all handshake bytes before it, in the order they were sent))

The server proves itself first; the client's transcript includes the server's PROOF. Both nonces are in the transcript.
"""

from __future__ import annotations

import hashlib
import hmac

from tilewire.protocol.constants import KEY_SIZE, LABEL_CLIENT, LABEL_SERVER
from tilewire.protocol.wire import Sender


def proof(key: bytes, prover: Sender, transcript_digest: bytes) -> bytes:
    """The 32 bytes by which `prover` (CLIENT or SERVER) shows that it knows `key` (32 bytes)."""
    if len(key) != KEY_SIZE:
        raise ValueError(f"a key has {KEY_SIZE} bytes, not {len(key)}")
    label = LABEL_SERVER if prover is Sender.SERVER else LABEL_CLIENT
    return hmac.digest(key, label + transcript_digest, hashlib.sha256)


def same(one: bytes, other: bytes) -> bool:
    """Compare in a time that does not depend on where the two differ."""
    return hmac.compare_digest(one, other)
