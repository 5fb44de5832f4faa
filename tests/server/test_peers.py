"""Whose process is at the other end of a connection: in a network of its own, with addresses of its own."""

from __future__ import annotations

import subprocess
import sys
from ast import literal_eval

import pytest

OWN, OWN_6, ELSEWHERE = "192.0.2.5", "2001:db8::5", "198.51.100.7"
NETWORK = f"""
set -e
ip link set lo up
ip address add {OWN}/32 dev lo
ip -6 address add {OWN_6}/128 dev lo nodad
ip route add {ELSEWHERE}/32 dev lo
exec "$@"
"""
PROGRAM = """
import socket, struct, sys, trio
from tilewire.server.peers import user_of_peer

async def asked(end):
    with trio.socket.from_stdlib_socket(end) as other:
        return user_of_peer(trio.SocketStream(other))

def near(source, target, fate):
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    listener = socket.create_server(("", 0), family=family, dualstack_ipv6=":" in target)
    with listener, socket.socket(family) as client:
        client.bind((source, 0))
        client.connect((target, listener.getsockname()[1]))
        end, _ = listener.accept()
        if fate == "closed":
            client.close()
        if fate == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        return trio.run(asked, end)

def far(source, target, fate):
    # The kernel takes our word that this is connected: nobody is at the other end.
    with socket.create_server(("", 0)) as listener, socket.socket() as end:
        end.setsockopt(socket.SOL_TCP, 19, 1)  # TCP_REPAIR
        end.bind((target, 0))
        # Somebody of this machine listens on a port of the same number.
        end.connect((source, listener.getsockname()[1]))
        return trio.run(asked, end)

print((far if sys.argv[3] == "far" else near)(*sys.argv[1:]))
"""


def user_of(source: str, target: str, fate: str) -> int | None:
    """As a process of root sees it; the other end is root's too."""
    own_network = ("unshare", "--user", "--map-root-user", "--net", "sh", "-c", NETWORK, "sh")
    command = [*own_network, sys.executable, "-c", PROGRAM, source, target, fate]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: int | None = literal_eval(done.stdout)
    return found


HERE = [
    ("127.0.0.1", "127.0.0.1"),
    ("127.0.0.9", "127.0.0.1"),
    (OWN, OWN),
    (OWN, "127.0.0.1"),
    ("127.0.0.1", OWN),
    ("::1", "::1"),
    (OWN_6, "::1"),
    (f"::ffff:{OWN}", "::ffff:127.0.0.1"),
]


@pytest.mark.parametrize(("source", "target"), HERE)
def test_any_two_addresses_of_this_machine(source: str, target: str) -> None:
    """A program binds the one and connects to the other."""
    assert user_of(source, target, "open") == 0


@pytest.mark.parametrize("fate", ["closed", "reset"])
@pytest.mark.parametrize(("source", "target"), [(OWN, "127.0.0.1"), (OWN, OWN), (OWN_6, OWN_6)])
def test_nobody_knows_whose_a_closed_one_was(source: str, target: str, fate: str) -> None:
    """What it sent before could still be read, so it is not taken for one from elsewhere."""
    assert user_of(source, target, fate) == -1


def test_from_elsewhere() -> None:
    assert user_of(ELSEWHERE, OWN, "far") is None
