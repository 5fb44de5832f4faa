"""Devices' keys at rest: as they are, or encrypted with a secret that lies elsewhere.

An HMAC key is needed as it is, so it cannot be hashed. AES-256-GCM (RFC 5116) under the secret, 96 random bits of nonce
for each encryption (2^32 of them are safe, NIST SP 800-38D; a fleet makes thousands), and the device's name as
associated data: a row that was moved to another name does not open. Who may write the file can still put back an older
key of the same device.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tilewire.protocol.constants import KEY_SIZE
from tilewire.server.store.errors import StoreError

SECRET_SIZE: Final = 32
_NONCE_SIZE: Final = 12
_TAG_SIZE: Final = 16
_FORMAT: Final = b"\x01"
"""The first byte of what is sealed: this algorithm."""
SEALED_SIZE: Final = len(_FORMAT) + _NONCE_SIZE + KEY_SIZE + _TAG_SIZE
_KEY_LABEL: Final = b"tilewire device key\0"
_CHECK_LABEL: Final = b"tilewire state\0"


class WrongSeal(Exception):
    """Not made with this secret, or not for this name."""


class Seal:
    """Encrypts and decrypts with one secret."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_SIZE:
            raise ValueError(f"a secret has {SECRET_SIZE} bytes")
        self._cipher = AESGCM(secret)

    def close(self, key: bytes, device: str) -> bytes:
        """SEALED_SIZE bytes that give `key` back to this secret and this device's name alone."""
        return self._encrypt(key, _KEY_LABEL + device.encode())

    def open(self, sealed: bytes, device: str) -> bytes:
        """The key again. Raises WrongSeal."""
        return self._decrypt(sealed, _KEY_LABEL + device.encode())

    def mark(self) -> bytes:
        """Goes into the state, so that another secret is noticed before a key is asked for."""
        return self._encrypt(b"", _CHECK_LABEL)

    def check(self, mark: bytes) -> None:
        """Raises WrongSeal where `mark` was made with another secret."""
        self._decrypt(mark, _CHECK_LABEL)

    def _encrypt(self, text: bytes, about: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_SIZE)
        return _FORMAT + nonce + self._cipher.encrypt(nonce, text, about)

    def _decrypt(self, sealed: bytes, about: bytes) -> bytes:
        start = len(_FORMAT) + _NONCE_SIZE
        if sealed[:1] != _FORMAT or len(sealed) < start + _TAG_SIZE:
            raise WrongSeal
        try:
            return self._cipher.decrypt(sealed[1:start], sealed[start:], about)
        except InvalidTag:
            raise WrongSeal from None


def read_secret(path: Path) -> Seal:
    """The secret in a file of 32 bytes that nobody else may read. Raises StoreError."""
    try:
        # Looked at through the descriptor that is read from: another file of this name does not count. NONBLOCK: a
        # pipe of this name holds nobody up.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise StoreError(f"the secret {path} is not a file")
            if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise StoreError(f"{path} holds a secret and may be read by others: chmod 600 {path}")
            secret = os.read(descriptor, SECRET_SIZE + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreError(f"the secret {path} cannot be read: {error.strerror}") from error
    if len(secret) != SECRET_SIZE:
        raise StoreError(
            f"the secret {path} does not have {SECRET_SIZE} bytes: head -c {SECRET_SIZE} /dev/urandom makes one"
        )
    return Seal(secret)
