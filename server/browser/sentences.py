"""Chromium's network errors in plain words."""

from __future__ import annotations

from typing import Final

_WORDS: Final = {
    "ABORTED": "the server had nothing to show, or another navigation took its place",
    "ADDRESS_UNREACHABLE": "there is no way to its address",
    "BLOCKED_BY_CLIENT": "it is refused",
    "BLOCKED_BY_RESPONSE": "the server forbids it here",
    "CONNECTION_CLOSED": "the server ended the connection",
    "CONNECTION_REFUSED": "nobody listens at its address",
    "CONNECTION_RESET": "the server broke the connection off",
    "CONNECTION_TIMED_OUT": "nobody answers at its address",
    "EMPTY_RESPONSE": "the server answered with nothing",
    "HTTP_RESPONSE_CODE_FAILURE": "the server answered with an error and no page",
    "INTERNET_DISCONNECTED": "there is no network",
    "INVALID_RESPONSE": "the server's answer makes no sense",
    "NAME_NOT_RESOLVED": "its host is not known",
    "NETWORK_CHANGED": "the network changed",
    "SSL_PROTOCOL_ERROR": "the server does not speak TLS there",
    "TIMED_OUT": "the server was too slow",
    "TOO_MANY_REDIRECTS": "it leads round in a circle",
    "UNKNOWN_URL_SCHEME": "its scheme is not known",
    "UNSAFE_PORT": "browsers refuse this port",
}
_CERTIFICATES: Final = {
    "CERT_AUTHORITY_INVALID": "its certificate comes from an authority that is not trusted",
    "CERT_COMMON_NAME_INVALID": "its certificate is for another name",
    "CERT_DATE_INVALID": "its certificate has expired or is not valid yet",
    "CERT_REVOKED": "its certificate was revoked",
}


def said(error: str) -> str:
    """A clause for an error such as net::ERR_NAME_NOT_RESOLVED, with the error itself."""
    name = error.removeprefix("net::").removeprefix("ERR_")
    words = _WORDS.get(name) or _CERTIFICATES.get(name)
    if words is None:
        words = "its certificate is not trusted" if name.startswith("CERT_") else "the network failed"
    return f"{words} ({error.removeprefix('net::')})"
