"""The source text that `tilewire device add` prints is what the real clients take."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewire.protocol import AuthMethod, Connection, EndOfStream, Event, Need, Sender
from tilewire.protocol import messages as m
from tilewire.server.store import c_snippet, micropython_snippet

from tests.clients.test_build import C99, INCLUDES, SOURCES, compiler, run
from tests.server.test_store import ODD_NAMES
from tests.server.test_store_cli import Command, key_of

DEVICE: Final = """
#include "tilewire/tilewire.h"

#include <stdio.h>
#include <unistd.h>

/* Of the snippet, which comes without a header of its own. */
void tilewire_credentials(tw_client_config *config);

static uint8_t memory[TW_CLIENT_SIZE(0, 16)], receive[TW_MIN_MESSAGE], framebuffer[16 * 16];

static const tw_callbacks callbacks;

/* What comes on standard input is from the server, what goes to standard output is to it. */
int main(void) {
    static tw_client_config config;
    static const uint8_t nonce[TW_NONCE_SIZE] = {1, 2, 3};
    tw_client *client;
    tw_status status = TW_OK;
    unsigned i;
    for (i = 0; i < TW_NONCE_SIZE; ++i) {
        config.nonce[i] = nonce[i];
    }
    config.width = config.height = 16;
    config.pixel_format = TW_PIXEL_RGB332;
    config.framebuffer = framebuffer;
    config.framebuffer_size = sizeof framebuffer;
    config.receive = receive;
    config.receive_size = sizeof receive;
    config.callbacks = &callbacks;
    tilewire_credentials(&config);
    if (tw_client_init(&client, &config, memory, sizeof memory) != TW_OK) {
        return 1;
    }
    for (;;) {
        uint8_t data[4096];
        size_t length, consumed;
        ssize_t count;
        const uint8_t *output = tw_client_output(client, &length);
        if (length != 0) {
            count = write(1, output, length);
            if (count <= 0) {
                return 2;
            }
            tw_client_sent(client, (size_t)count);
            continue;
        }
        if (status != TW_OK || tw_client_phase(client) == TW_CLOSED) {
            break;
        }
        count = read(0, data, sizeof data);
        if (count <= 0) {
            break;
        }
        status = tw_client_feed(client, data, (size_t)count, &consumed);
    }
    fprintf(stderr, "%s", tw_status_text(tw_client_reason(client)));
    return 0;
}
"""


class Peer:
    """The server's side of a handshake with a program on pipes."""

    def __init__(self, program: Path) -> None:
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
        self.connection = Connection(Sender.SERVER)

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def receive(self) -> Event:
        assert self.process.stdout is not None
        while isinstance(event := self.connection.next_event(), Need):
            self.connection.receive_data(self.process.stdout.read(4096) or b"")
        return event

    def ends(self) -> str:
        """Why, in the client's words."""
        _, said = self.process.communicate(timeout=60)
        return said.decode()


def greet(program: Path, name: str, key: bytes) -> tuple[bool, str]:
    """A whole mutual proof: whether the device's is right, and how it ended for the device."""
    peer = Peer(program)
    try:
        hello = peer.receive()
        assert isinstance(hello, m.Hello)
        assert (hello.device_id, hello.auth_methods) == (name, AuthMethod.HMAC)
        reply = m.Reply(version=1, method=AuthMethod.HMAC, nonce=bytes(16))
        peer.send(peer.connection.send(reply) + peer.connection.send(peer.connection.make_proof(key)))
        proof = peer.receive()
        proved = isinstance(proof, m.Proof)
        if isinstance(proof, m.Proof):
            peer.connection.check_proof(key, proof)
        else:
            assert isinstance(proof, m.Goodbye | EndOfStream), proof
        return proved, peer.ends()
    finally:
        peer.process.kill()
        peer.process.communicate()


@pytest.mark.parametrize("cc", ["gcc", "clang"])
def test_the_c_snippet_lets_the_real_client_in(tmp_path: Path, capsys: pytest.CaptureFixture[str], cc: str) -> None:
    """As printed, it compiles without a warning, and with it both sides prove themselves."""
    folder = tmp_path / "state"
    tilewire = Command(folder, capsys)
    said = tilewire("device", "add", "panel-7")
    start = said.index("/* tilewire_credentials.c")
    snippet, device, program = tmp_path / "tilewire_credentials.c", tmp_path / "device.c", tmp_path / "device"
    snippet.write_text(said[start : said.index("For MicroPython:")])
    device.write_text(DEVICE)
    run(compiler(cc), *C99, "-D_POSIX_C_SOURCE=200809L", *INCLUDES, snippet, device, *SOURCES, "-o", program)
    key = key_of(folder, "panel-7")
    assert key is not None
    proved, why = greet(program, "panel-7", key)
    assert proved
    assert "not accepted" not in why
    # It is the key that counts: with another one the device proves nothing and says so.
    proved, why = greet(program, "panel-7", secrets.token_bytes(32))
    assert not proved
    assert why == "the device or its key was not accepted"


def test_the_c_snippet_holds_any_name(tmp_path: Path) -> None:
    """Names that did not come from the command: the characters that mean something in C are escaped."""
    names = [*ODD_NAMES[:-2], 'a"b', "a\\b", "??/", "%s", "1\u00e92", "\x07" + "7"]
    parts = []
    for number, name in enumerate(names):
        text = c_snippet(name, bytes([number]) * 32)
        parts.append(text.replace("tilewire_credentials(", f"of_{number}(").replace("key[", f"key_{number}["))
        parts[-1] = parts[-1].replace("config->key = key;", f"config->key = key_{number};")
    calls = "\n".join(
        f"of_{number}(&c); fwrite(c.device_id, 1, strlen(c.device_id) + 1, stdout); fwrite(c.key, 1, 32, stdout);"
        for number in range(len(names))
    )
    source, program = tmp_path / "names.c", tmp_path / "names"
    source.write_text(
        "\n".join(parts)
        + "\n#include <stdio.h>\n#include <string.h>\n"
        + f"int main(void) {{ static tw_client_config c; {calls} return 0; }}\n"
    )
    run(compiler("gcc"), *C99, *INCLUDES, source, "-o", program)
    done = subprocess.run([program], capture_output=True, check=True)
    assert done.stdout == b"".join(name.encode() + b"\0" + bytes([at]) * 32 for at, name in enumerate(names))


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=16), st.binary(min_size=32, max_size=32))
@settings(deadline=None)
def test_the_micropython_snippet_holds_any_name_and_key(name: str, key: bytes) -> None:
    text = micropython_snippet(name, key)
    assert text.isascii()
    found: dict[str, Any] = {}
    exec(compile(text, "tilewire_credentials.py", "exec"), found)
    assert (found["DEVICE_ID"], found["KEY"]) == (name, key)
