"""Whose process is at the other end of a connection from this machine: sock_diag(7), by the kernel's word."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

import trio

NETLINK_ROUTE: Final = 0
NETLINK_SOCK_DIAG: Final = 4
SOCK_DIAG_BY_FAMILY: Final = 20
RTM_NEWROUTE: Final = 24
RTM_GETROUTE: Final = 26
NLM_F_REQUEST: Final = 1
HEADER: Final = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence, port."""
REQUEST: Final = struct.Struct("=BBBxI")
"""inet_diag_req_v2 before its inet_diag_sockid: family, protocol, extensions, states."""
SOCKID_BYTES: Final = 48
STATE_AT: Final = HEADER.size + 1
UID_AND_INODE: Final = struct.Struct("=II")
UID_AT: Final = HEADER.size + 4 + SOCKID_BYTES + 12
"""In the answer, an inet_diag_msg: after four bytes, the sockid, and expiry and the two queues."""
ROUTE: Final = struct.Struct("=BBBBBBBBIHH")
"""rtmsg and the head of its one attribute: family, length of the destination in bits, source's, type of service, table,
protocol, scope, type, flags; the attribute's length and type."""
RTA_DST: Final = 1
ROUTE_TYPE_AT: Final = HEADER.size + 7
RTN_LOCAL: Final = 2
ALL_STATES: Final = 0xFFFF_FFFF
LISTENING: Final = 10
NO_COOKIE: Final = b"\xff" * 8
TIMEOUT_S: Final = 1.0

Address = IPv4Address | IPv6Address


NOBODY_KNOWS: Final = -1


def user_of_peer(stream: trio.SocketStream) -> int | None:
    """The user id of the process that connected to us from this machine; None: from elsewhere.

    NOBODY_KNOWS: from here, but the process has closed its end already, or the kernel does not say; or reset, from
    wherever: what was sent before could still be read.
    """
    try:
        peer, own = stream.socket.getpeername(), stream.socket.getsockname()
    except OSError:
        return NOBODY_KNOWS
    if not (isinstance(peer, tuple) and isinstance(own, tuple)):
        return None
    source, target = (ip_address(one[0].partition("%")[0]) for one in (peer, own))
    family, interface = socket.AF_INET, 0
    if isinstance(source, IPv6Address) and isinstance(target, IPv6Address):
        if source.ipv4_mapped is None or target.ipv4_mapped is None:
            family, interface = socket.AF_INET6, peer[3]
        else:
            source, target = source.ipv4_mapped, target.ipv4_mapped
    # Addresses do not say it: a program may bind any of this machine's and connect to any other of them.
    ends = struct.pack(">HH", peer[1], own[1]) + _packed(source) + _packed(target)
    try:
        user = _user(family, ends + struct.pack("=I", interface) + NO_COOKIE)
        if user is None and not (source.is_loopback or target.is_loopback or _is_own(family, source)):
            return None
    except OSError:
        return NOBODY_KNOWS
    return NOBODY_KNOWS if user is None else user


def _user(family: int, sockid: bytes) -> int | None:
    """Whose socket that is; None: there is none, or none with a process. Raises OSError."""
    request = REQUEST.pack(family, socket.IPPROTO_TCP, 0, ALL_STATES) + sockid
    kind, answer = _ask(NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, request)
    if kind != SOCK_DIAG_BY_FAMILY or len(answer) < UID_AT + UID_AND_INODE.size:
        return None
    # Where no connection fits, the kernel tells of who listens on that port.
    if answer[STATE_AT] == LISTENING:
        return None
    user, inode = UID_AND_INODE.unpack_from(answer, UID_AT)
    # A socket without an inode has no process any more, and its user reads as root.
    return int(user) if inode else None


def _is_own(family: int, address: Address) -> bool:
    """Whether it is one of this machine's, which the kernel routes to itself. Raises OSError.

    (To bind it would not tell: net.ipv4.ip_nonlocal_bind allows that for any.)
    """
    head = ROUTE.pack(family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0, 4 + len(address.packed), RTA_DST)
    kind, answer = _ask(NETLINK_ROUTE, RTM_GETROUTE, head + address.packed)
    return kind == RTM_NEWROUTE and answer[ROUTE_TYPE_AT] == RTN_LOCAL


def _ask(protocol: int, kind: int, body: bytes) -> tuple[int, bytes]:
    """The kernel's answer to one netlink request: its type, and all of it. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as kernel:
        # It answers within the call; an answer that does not come is not waited for.
        kernel.settimeout(TIMEOUT_S)
        kernel.send(HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST, 1, 0) + body)
        answer = kernel.recv(8192)
    _, found, *_ = HEADER.unpack_from(answer)
    return found, answer


def _packed(address: Address) -> bytes:
    return address.packed.ljust(16, b"\0")
