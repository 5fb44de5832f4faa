"""The `tilewire` command."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Final, TypeVar

import trio

from tilewire.protocol import DEFAULT_PANEL, PANELS
from tilewire.protocol.constants import PORT
from tilewire.server.config import add_flags, given_flags, load_config
from tilewire.server.config.check import check
from tilewire.server.display import DisplayError
from tilewire.server.errors import ServerError
from tilewire.server.handshake import Credentials
from tilewire.server.keys import read_keys
from tilewire.server.record import RecordOptions
from tilewire.server.run import Ending, Options, attach, run
from tilewire.server.serve import serve
from tilewire.server.store.cli import Place, add_parsers
from tilewire.server.tls import Security, server_context
from tilewire.server.transport import WebRules
from tilewire.server.values import Address, parse_address, parse_origin, parse_size
from tilewire.server.x11.process import adopt_orphans

T = TypeVar("T")

RECORD_MIB: Final = 1024
"""Hours of work, and what a disk that nobody looks at can spare."""


def parse_fps(text: str) -> int:
    """1 to 60."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 60):
        raise argparse.ArgumentTypeError(f"{text!r} is not from 1 to 60")
    return int(text)


def _mebibytes(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 1 << 24):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of MiB from 1 on")
    return int(text)


def _written(parse: Callable[[str], T]) -> Callable[[str], T]:
    """As argparse wants it, which has sentences of its own for a ValueError."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(prog="tilewire", description="Desktop programs on devices too small to run them.")
    top.add_argument("--version", action="version", version=f"tilewire {metadata.version('tilewire')}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--listen",
        type=_written(partial(parse_address, default_port=PORT)),
        default=Address("127.0.0.1", PORT),
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
        type=_written(parse_origin),
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
        "--size", type=_written(parse_size), default=(1024, 600), metavar="WxH", help="of the screen (1024x600)"
    )
    run_command.add_argument(
        "--max-size",
        type=_written(parse_size),
        metavar="WxH",
        help="as large as a device may make the screen (as it is)",
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
    address = arguments.listen
    keys = read_keys(arguments.keys) if arguments.keys else {}
    if not keys and not arguments.insecure and not address.loopback:
        raise ServerError(f"{address.host} is not loopback: give --keys FILE, or --insecure to let everybody in")
    return Options(
        security=_security(arguments),
        host=address.host,
        port=address.port,
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
