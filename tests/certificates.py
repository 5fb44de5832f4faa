"""Certificates for tests, made by the openssl command: good ones, and each kind of bad one."""

from __future__ import annotations

import os
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tilewire.server.tls import Security, server_context

NAMES: Final = "DNS:localhost,IP:127.0.0.1"
EC: Final = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
RSA: Final = ("rsa:2048",)


def openssl(*words: object) -> None:
    """Run the command, without what the system's own configuration adds."""
    done = subprocess.run(
        ["openssl", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OPENSSL_CONF": "/dev/null"},
    )
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True, slots=True)
class Identity:
    """A server's certificate and private key."""

    certificate: Path
    key: Path

    @property
    def flags(self) -> tuple[str, ...]:
        """Of `tilewire run`."""
        return (f"--tls-cert={self.certificate}", f"--tls-key={self.key}")

    def security(self, *, required: bool = False) -> Security:
        """For a door."""
        return Security(server_context(self.certificate, self.key), required=required)


class Authority:
    """Issues certificates; `certificate` is what its clients trust."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self.certificate = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        openssl(
            *("req", "-x509", "-newkey", *EC, "-nodes", "-keyout", self._key, "-out", self.certificate),
            *("-days", "2", "-subj", f"/CN=tilewire test {name}"),
            *("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "subjectKeyIdentifier=hash"),
        )

    def issue(self, name: str, *, names: str = NAMES, days: int = 2, kind: tuple[str, ...] = EC) -> Identity:
        """A certificate for these names; it has expired where `days` is negative."""
        made = Identity(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        request = self._folder / f"{name}.request"
        openssl(
            *("req", "-new", "-newkey", *kind, "-nodes", "-keyout", made.key, "-out", request),
            *("-subj", f"/CN={name}", "-addext", f"subjectAltName={names}"),
        )
        openssl(
            *("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key),
            *("-days", str(days), "-copy_extensions", "copyall", "-out", made.certificate),
        )
        return made

    def trusting(self) -> ssl.SSLContext:
        """A client's context that trusts this authority alone."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.certificate)
        return context
