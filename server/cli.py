"""The `tilewire` command."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import trio

from tilewire.protocol import DEFAULT_PANEL, PANELS
from tilewire.protocol.constants import MAX_PIXELS, MAX_SIDE, PORT
from tilewire.server.config import add_flags, given_flags, load_config
from tilewire.server.config.check import check
from tilewire.server.display import DisplayError
from tilewire.server.door import is_loopback, parse_address
from tilewire.server.errors import ServerError
from tilewire.server.handshake import Credentials
from tilewire.server.keys import read_keys
from tilewire.server.record import RecordOptions
from tilewire.server.run import Ending, Options, attach, run
from tilewire.server.serve import serve
from tilewire.server.store.cli import Place, add_parsers
from tilewire.server.tls import Security, server_context
from tilewire.server.transport import WebRules
from tilewire.server.x11.process import adopt_orphans

MIN_SIDE = 16
"""The narrowest rectangle that a device may be limited to; a smaller screen is a typing error."""

RECORD_MIB: Final = 1024
"""Hours of work, and what a disk that nobody looks at can spare."""

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
"""Browsers leave these out of an origin."""


def parse_size(text: str) -> tuple[int, int]:
    """WxH within what a panel may be."""
    width, _, height = text.lower().partition("x")
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, such as 1024x600")
    size = int(width), int(height)
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size) or size[0] * size[1] > MAX_PIXELS:
        raise argparse.ArgumentTypeError(
            f"{text} is out of bounds: {MIN_SIDE} to {MAX_SIDE} pixels a side, {MAX_PIXELS} in all"
        )
    return size


def parse_fps(text: str) -> int:
    """1 to 60."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 60):
        raise argparse.ArgumentTypeError(f"{text!r} is not from 1 to 60")
    return int(text)


def _mebibytes(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 1 << 24):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of MiB from 1 on")
    return int(text)


def _listen_address(text: str) -> tuple[str, int]:
    try:
        return parse_address(text, PORT)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _origin(text: str) -> str:
    """As browsers write it: lower case, without the scheme's own port and without a path."""
    try:
        parts = urlsplit(text.lower())
        port = parts.port
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an origin") from None
    if parts.scheme not in DEFAULT_PORTS:
        # Other schemes, such as an extension's, have no such rules, and some pages have the origin null.
        return text
    if not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise argparse.ArgumentTypeError(f"{text!r} is not an origin, such as https://example.org")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, DEFAULT_PORTS[parts.scheme]) else "")


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(prog="tilewire", description="Desktop programs on devices too small to run them.")
    top.add_argument("--version", action="version", version=f"tilewire {metadata.version('tilewire')}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--listen",
        type=_listen_address,
        default=("127.0.0.1", PORT),
        metavar="HOST:PORT",
        help=f"where devices connect (127.0.0.1:{PORT})",
    )
    shared.add_argument("--fps", type=parse_fps, default=30, metavar="N", help="updates a second at most (30)")
    shared.add_argument("--keys", type=Path, metavar="FILE", help="device ids and their keys of 64 hex digits")
    shared.add_argument("--insecure", action="store_true", help="let devices without a key in, beyond loopback too")
    shared.add_argument("--tls-cert", type=Path, metavar="FILE", help="speak TLS too: certificate and chain, PEM")
    shared.add_argument("--tls-key", type=Path, metavar="FILE", help="the certificate's private key, PEM")
    shared.add_argument("--tls-only", action="store_true", help="refuse whoever does not speak TLS")
    shared.add_argument(
        "--allow-origin",
        type=_origin,
        action="append",
        default=[],
        metavar="ORIGIN",
        help="a web origin whose pages may connect",
    )
    shared.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name of this server in WebSocket requests",
    )
    shared.add_argument("--record", type=Path, metavar="FILE", help="keep what the session shows in a new file")
    shared.add_argument(
        "--record-panel",
        choices=sorted(PANELS),
        metavar="NAME",
        help=f"the device that it is kept for: {', '.join(sorted(PANELS))} ({DEFAULT_PANEL})",
    )
    shared.add_argument(
        "--record-max", type=_mebibytes, metavar="MIB", help=f"end the recording at so many ({RECORD_MIB})"
    )
    shared.add_argument("-v", "--verbose", action="store_true", help="log more")

    run_command = commands.add_parser(
        "run", parents=[shared], help="start a program on a screen of its own and serve it"
    )
    run_command.add_argument(
        "--size", type=parse_size, default=(1024, 600), metavar="WxH", help="of the screen (1024x600)"
    )
    run_command.add_argument(
        "--max-size", type=parse_size, metavar="WxH", help="as large as a device may make the screen (as it is)"
    )
    run_command.add_argument("program", nargs="+", metavar="-- COMMAND", help="the program and its arguments")
    attach_command = commands.add_parser("attach", parents=[shared], help="serve an X display that runs already")
    attach_command.add_argument("display", metavar=":N", help="the display")
    serve_command = commands.add_parser(
        "serve", help="many sessions, devices that come and go, an API", description="Settings go before tilewire.toml."
    )
    serve_command.add_argument("--config", type=Path, metavar="FILE", help="tilewire.toml: profiles and settings")
    add_flags(serve_command)
    check_command = commands.add_parser("check", help="read tilewire.toml and explain what is wrong with it")
    check_command.add_argument("config", type=Path, metavar="FILE", help="tilewire.toml")
    check_command.set_defaults(handler=lambda arguments: check(arguments.config, sys.stdout, os.environ))
    add_parsers(commands, _state_place)
    return top


def _state_place() -> Place:
    """Where the state is that a server with this environment and without a file has."""
    settings = load_config(None, os.environ, {}).settings
    return Place(settings.state, settings.secret)


def _security(arguments: argparse.Namespace) -> Security:
    certificate, key = arguments.tls_cert, arguments.tls_key
    if (certificate is None) != (key is None):
        raise ServerError("--tls-cert and --tls-key belong together: one of them is missing")
    if certificate is None:
        if arguments.tls_only:
            raise ServerError("--tls-only needs --tls-cert and --tls-key")
        return Security()
    return Security(server_context(certificate, key), required=arguments.tls_only)


def _record(arguments: argparse.Namespace) -> RecordOptions | None:
    if arguments.record is None:
        if arguments.record_panel or arguments.record_max:
            raise ServerError("--record-panel and --record-max go with --record FILE")
        return None
    return RecordOptions(
        path=arguments.record,
        panel=PANELS[arguments.record_panel or DEFAULT_PANEL],
        max_bytes=(arguments.record_max or RECORD_MIB) << 20,
    )


def _options(arguments: argparse.Namespace) -> Options:
    host, port = arguments.listen
    keys = read_keys(arguments.keys) if arguments.keys else {}
    if not keys and not arguments.insecure and not is_loopback(host):
        raise ServerError(f"{host} is not loopback: give --keys FILE, or --insecure to let everybody in")
    return Options(
        security=_security(arguments),
        host=host,
        port=port,
        fps=arguments.fps,
        credentials=Credentials(keys, open_door=arguments.insecure or not keys),
        rules=WebRules(frozenset(arguments.allow_origin), frozenset(arguments.allow_host)),
        record=_record(arguments),
    )


async def _main(arguments: argparse.Namespace, options: Options) -> Ending:
    if arguments.command == "run":
        size = arguments.size
        largest = arguments.max_size or size
        if largest[0] < size[0] or largest[1] < size[1]:
            raise ServerError("--max-size is smaller than --size")
        return await run(arguments.program, size, largest, options)
    return await attach(arguments.display, options)


def _log(level: str) -> None:
    logging.basicConfig(level=level, format="tilewire: %(message)s", stream=sys.stderr)
    logging.getLogger("trio-websocket").setLevel(logging.ERROR)


def _say(text: str) -> None:
    print(f"tilewire: {text}", file=sys.stderr)


def _plain(group: BaseExceptionGroup[BaseException]) -> str:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return str(first)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    arguments = parser().parse_args(argv)
    if "handler" in arguments:
        return int(arguments.handler(arguments))
    ending: Ending | None = None
    exit_code = 1
    try:
        if arguments.command == "serve":
            config = load_config(arguments.config, os.environ, given_flags(arguments))
            _log(config.settings.log.upper())
            ending = trio.run(serve, config)
        else:
            _log("DEBUG" if arguments.verbose else "INFO")
            adopt_orphans()
            ending = trio.run(_main, arguments, _options(arguments))
    except* (ServerError, DisplayError) as group:
        _say(_plain(group))
    except* KeyboardInterrupt:
        exit_code = 130
    if ending is None:
        return exit_code
    _say(ending.text)
    return ending.exit_code


if __name__ == "__main__":
    sys.exit(main())
