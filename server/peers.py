"""Whose process is at the other end of a connection from this machine: sock_diag(7), by the kernel's word."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

import trio

NETLINK_SOCK_DIAG: Final = 4
SOCK_DIAG_BY_FAMILY: Final = 20
NLM_F_REQUEST: Final = 1
HEADER: Final = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence, port."""
REQUEST: Final = struct.Struct("=BBBxI")
"""inet_diag_req_v2 before its inet_diag_sockid: family, protocol, extensions, states."""
SOCKID_BYTES: Final = 48
UID_AND_INODE: Final = struct.Struct("=II")
UID_AT: Final = HEADER.size + 4 + SOCKID_BYTES + 12
"""In the answer, an inet_diag_msg: after four bytes, the sockid, and expiry and the two queues."""
ALL_STATES: Final = 0xFFFF_FFFF
NO_COOKIE: Final = b"\xff" * 8
TIMEOUT_S: Final = 1.0


def _packed(address: IPv4Address | IPv6Address) -> bytes:
    return address.packed.ljust(16, b"\0")


NOBODY_KNOWS: Final = -1


def user_of_peer(stream: trio.SocketStream) -> int | None:
    """The user id of the process that connected to us from this machine; None: from elsewhere.

    NOBODY_KNOWS: from here, but the process has closed its end already, or the kernel does not say.
    """
    try:
        peer, own = stream.socket.getpeername(), stream.socket.getsockname()
    except OSError:
        return None
    if not (isinstance(peer, tuple) and isinstance(own, tuple)):
        return None
    source, target = (ip_address(one[0].partition("%")[0]) for one in (peer, own))
    family = socket.AF_INET
    if isinstance(source, IPv6Address) and isinstance(target, IPv6Address):
        if source.ipv4_mapped is None or target.ipv4_mapped is None:
            family = socket.AF_INET6
        else:
            source, target = source.ipv4_mapped, target.ipv4_mapped
    if source != target and not source.is_loopback:
        return None
    ends = struct.pack(">HH", peer[1], own[1]) + _packed(source) + _packed(target) + bytes(4) + NO_COOKIE
    body = REQUEST.pack(family, socket.IPPROTO_TCP, 0, ALL_STATES) + ends
    head = HEADER.pack(HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG) as kernel:
            # The kernel answers within the call; an answer that does not come is not waited for.
            kernel.settimeout(TIMEOUT_S)
            kernel.send(head + body)
            answer = kernel.recv(8192)
    except OSError:
        return NOBODY_KNOWS
    _, kind, *_ = HEADER.unpack_from(answer)
    if kind != SOCK_DIAG_BY_FAMILY or len(answer) < UID_AT + UID_AND_INODE.size:
        return NOBODY_KNOWS
    user, inode = UID_AND_INODE.unpack_from(answer, UID_AT)
    # A socket without an inode has no process any more, and its user reads as root.
    return int(user) if inode else NOBODY_KNOWS
