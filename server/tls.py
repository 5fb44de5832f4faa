"""TLS on the device port: the server's certificate, and the stream that speaks it."""

from __future__ import annotations

import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from tilewire.server.errors import ServerError
from tilewire.server.streams import Deaf, ReplayStream, SocketEnd

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AESCCM:!AESCCM8"
"""Of TLS 1.2: forward secrecy and authenticated encryption. 1.3 has nothing else."""

_PROTOCOL_VERSION: Final = 70
_HANDSHAKE_FAILURE: Final = 40
_ALERTS: Final = {
    "UNSUPPORTED_PROTOCOL": _PROTOCOL_VERSION,
    "NO_SHARED_CIPHER": _HANDSHAKE_FAILURE,
    "NO_SUITABLE_SIGNATURE_ALGORITHM": _HANDSHAKE_FAILURE,
    "NO_SUITABLE_KEY_SHARE": _HANDSHAKE_FAILURE,
}
"""Refusals of a ClientHello, when nothing is encrypted yet. trio's stream drops the alert that OpenSSL wrote."""


def alert(description: int) -> bytes:
    """A fatal alert in clear (RFC 5246, 7.2)."""
    return bytes((0x15, 3, 1, 0, 2, 2, description))


NOT_CONFIGURED: Final = alert(_HANDSHAKE_FAILURE)


@dataclass(frozen=True, slots=True)
class Security:
    """What a door has of TLS. Without `context` it speaks none; with `required` it speaks nothing else."""

    context: ssl.SSLContext | None = None
    required: bool = False


class HandshakeFailed(Exception):
    """No TLS came about. `alert` is for the peer, empty where it could not read one."""

    def __init__(self, text: str, alert: bytes = b"") -> None:
        super().__init__(text)
        self.alert = alert


class _Encrypted(Exception):
    """OpenSSL asked for a passphrase."""


def _check_file(path: Path, what: str, *, secret: bool) -> None:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise ServerError(f"{what} {path} is not a file")
        with path.open("rb") as file:
            pem = b"-----BEGIN " in file.read()
    except OSError as error:
        raise ServerError(f"{what} {path} cannot be read: {error.strerror}") from error
    if not pem:
        raise ServerError(f"{what} {path} is not PEM: it has no BEGIN line")
    # Group is allowed: Debian's private keys belong to the group ssl-cert.
    if secret and mode & stat.S_IRWXO:
        raise ServerError(f"{path} holds a private key and may be read by all: chmod o= {path}")


def _ask() -> str:
    # Without a callback OpenSSL would ask at the terminal, where nobody may sit.
    raise _Encrypted


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or later with this certificate (and the chain behind it) and its private key, both PEM.

    Raises ServerError, naming the file and what is wrong with it.
    """
    _check_file(certificate, "the certificate", secret=False)
    _check_file(key, "the private key", secret=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # All that is offered is good, so a small device chooses what it computes fastest.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    try:
        # The certificate alone first: then a second failure is the key's. Which file it was, OpenSSL does not tell.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(certificate)
    except ssl.SSLError as error:
        raise ServerError(f"the certificate {certificate} cannot be used: {_why(error)}") from error
    try:
        context.load_cert_chain(certificate, key, _ask)
    except _Encrypted as error:
        raise ServerError(f"the private key {key} is encrypted; tilewire needs it without a passphrase") from error
    except ssl.SSLError as error:
        # NO_CERTIFICATE_ASSIGNED: the key is of another kind than the certificate.
        if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
            raise ServerError(f"the private key {key} does not belong to the certificate {certificate}") from error
        if error.reason in ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"):
            raise ServerError(f"the certificate {certificate} is too weak: {_why(error)}") from error
        raise ServerError(f"the private key {key} cannot be used: {_why(error)}") from error
    return context


def renew(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Let new connections get what the files hold now. Raises ServerError, and all stays as it was."""
    server_context(certificate, key)
    context.load_cert_chain(certificate, key, _ask)


def _why(error: ssl.SSLError) -> str:
    """OpenSSL's reason in words; where it gives none, its PEM reader found nothing that it understands."""
    return (error.reason or "nothing in it can be read as PEM").replace("_", " ").lower().replace("pem", "PEM")


def ended(error: BaseException | None) -> bool:
    """Whether an error of the TLS layer only says that the peer's bytes ended without close_notify."""
    return isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError) or (
        isinstance(error, ssl.SSLError) and "UNEXPECTED_EOF" in (error.reason or "")
    )


class TlsStream(trio.abc.Stream):
    """The server's side of TLS on a socket whose first bytes were read already.

    trio's stream is used as the standard has it (https_compatible=False): an end that we make is told by close_notify.
    A peer's end is taken with or without one: tilewire has its own last word, and a stream that ends without GOODBYE
    is a connection that broke, whoever cut it.
    """

    def __init__(self, first: bytes, end: SocketEnd, context: ssl.SSLContext) -> None:
        self._end = end
        self._ssl = trio.SSLStream(ReplayStream(first, end), context, server_side=True)
        self._whole = False
        """Whether the peer can read another record: the handshake is done, and no send was cut off."""
        self._closing = trio.Lock()

    async def handshake(self) -> None:
        """Raises HandshakeFailed. Cancelled, it leaves a dead stream."""
        try:
            await self._ssl.do_handshake()
        except trio.BrokenResourceError as error:
            cause = error.__cause__
            if not isinstance(cause, ssl.SSLError) or ended(cause):
                raise HandshakeFailed("left in the TLS handshake") from error
            if "ALERT" in (cause.reason or ""):
                raise HandshakeFailed(f"the peer broke off the TLS handshake: {_why(cause)}") from error
            description = _ALERTS.get(cause.reason or "")
            words = alert(description) if description is not None else b""
            raise HandshakeFailed(f"the TLS handshake failed: {_why(cause)}", words) from error
        self._whole = True

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        try:
            return bytes(await self._ssl.receive_some(max_bytes))
        except trio.BrokenResourceError as error:
            if ended(error.__cause__):
                return b""
            raise

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        whole, self._whole = self._whole, False
        await self._ssl.send_all(data)
        self._whole = whole

    async def wait_send_all_might_not_block(self) -> None:
        await self._ssl.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        async with self._closing:
            if not self._whole:
                await self._end.aclose()
                return
            self._whole = False
            # OpenSSL refuses to close while it holds records that nobody has read, and trio then drops the
            # close_notify: what is held is read, and nothing more.
            self._end.deafen()
            try:
                while await self._ssl.receive_some():
                    pass
            except (Deaf, trio.BrokenResourceError, trio.BusyResourceError):
                pass
            await self._ssl.aclose()
