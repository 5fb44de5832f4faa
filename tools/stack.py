"""How much stack the C client takes: the deepest path through the call graph that the compiler writes.

gcc writes one `.ci` file beside each object (`-fcallgraph-info=su`): functions with the bytes of their frames, and
calls. A call by pointer is a callback of the caller's, whose stack is his own business, or one of `POINTERS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

CALLBACK: Final = re.compile(r"(client->)?callbacks->\w+\(|client->(now_us|jpeg)\(")
"""What the caller gave: the core adds nothing to what it takes."""

POINTERS: Final[Mapping[str, tuple[str, ...]]] = {
    "kind->take": (
        "take_bell",
        "take_clipboard",
        "take_control_state",
        "take_cursor_position",
        "take_cursor_shape",
        "take_explanation",
        "take_goodbye",
        "take_input_echo",
        "take_notice",
        "take_ping",
        "take_pong",
        "take_resize",
        "take_setting",
        "take_unwanted",
        "take_view_state",
        "tw_take_begin",
        "tw_take_cache_draw",
        "tw_take_cache_store",
        "tw_take_copy",
        "tw_take_end",
        "tw_take_proof",
        "tw_take_tile",
        "tw_take_welcome",
    ),
}
"""The core's own function pointers, by the name of the variable: what they may point to, where
tw_config.h does not leave it out."""

OUTSIDE: Final = 32
"""Bytes allowed for each function that is not the core's: memcpy, memset, memcmp, a division of libgcc's. newlib's
take 0 to 20."""

NOT_IN_CALLBACKS: Final = ("tw_client_init", "tw_client_feed", "tw_client_tick", "tw_client_end", "tw_client_resume")
"""Every other function of the interface may be called by a callback, as tilewire.h says."""

INDIRECT: Final = "__indirect_call"
_NODE: Final = re.compile(r'^node: \{ title: "([^"]+)" label: "([^"]+)"( shape : ellipse)? \}$')
_EDGE: Final = re.compile(r'^edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"( label: "(.+):(\d+):(\d+)")? \}$')
_BRANCH: Final = re.compile(r"CALL|JUMP|PREL31|V4BX")
"""Relocations that take no address: calls, jumps, tables for unwinding."""
_FRAME: Final = re.compile(r"(\d+) bytes \((static|dynamic,bounded)\)")


class StackError(Exception):
    """The call graph has no bound, or says something that is not understood. A plain sentence."""


@dataclass(slots=True)
class Graph:
    """Functions by the titles that gcc gives them; two of one file may not have the same name."""

    frames: dict[str, int] = field(default_factory=dict)
    """Bytes of each function's own frame, return address and saved registers among them."""
    calls: dict[str, set[str]] = field(default_factory=dict)
    calls_back: set[str] = field(default_factory=set)
    """Functions that call a callback."""
    pointers: set[str] = field(default_factory=set)
    """Names out of `POINTERS` that are called somewhere."""

    def callees(self, name: str) -> set[str]:
        return self.calls.get(name, set())

    def names(self) -> set[str]:
        """Functions as the source calls them."""
        return {title.rsplit(":", 1)[-1] for title in self.frames}

    def check_pointers(self, taken: Iterable[str]) -> None:
        """Raise StackError where `POINTERS` is not what the program does: these functions have their address taken."""
        listed = {target for name in self.pointers for target in POINTERS[name]} & self.names()
        if different := listed.symmetric_difference(taken):
            raise StackError(f"POINTERS is wrong about {', '.join(sorted(different))}")


@dataclass(frozen=True, slots=True)
class Depth:
    """The deepest path from a function on: bytes, and the functions on it."""

    size: int
    path: tuple[str, ...]


def read(files: Iterable[Path]) -> Graph:
    """The call graph of a program from its `.ci` files. Raises StackError where it is not bounded or not understood."""
    graph = Graph()
    indirect: list[tuple[str, str]] = []
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            if node := _NODE.match(line):
                _add_node(graph, node[1], node[2], outside=node[3] is not None)
            elif edge := _EDGE.match(line):
                caller, callee = edge[1], edge[2]
                if callee == INDIRECT:
                    if edge[3] is None:
                        raise StackError(f"{caller} calls by pointer, nobody knows where")
                    indirect.append((caller, _callee_text(edge[4], int(edge[5]), int(edge[6]))))
                else:
                    graph.calls.setdefault(caller, set()).add(callee)
            elif not re.match(r"graph: |\}$", line):
                raise StackError(f"{file.name}: {line!r} is not understood")
    for caller, text in indirect:
        _add_pointer(graph, caller, text)
    for caller, callees in graph.calls.items():
        for callee in callees:
            if callee not in graph.frames:
                if caller not in graph.frames:
                    raise StackError(f"{caller} calls, and has no frame")
                graph.frames[callee] = OUTSIDE
    return graph


def _add_node(graph: Graph, title: str, label: str, *, outside: bool) -> None:
    if outside:  # declared here; its own file has its frame
        return
    frame = _FRAME.search(label)
    if frame is None:
        raise StackError(f"{title}: no bound of its frame: {label!r}")
    if title in graph.frames:
        raise StackError(f"{title} is there twice")
    graph.frames[title] = int(frame[1])


def _callee_text(file: str, line: int, column: int) -> str:
    """The source from the called expression on."""
    return Path(file).read_text(encoding="utf-8").splitlines()[line - 1][column - 1 :]


def _add_pointer(graph: Graph, caller: str, text: str) -> None:
    if CALLBACK.match(text):
        graph.calls_back.add(caller)
        return
    name = text.split("(")[0]
    if name not in POINTERS:
        raise StackError(f"{caller} calls {name!r} by pointer: neither a callback nor in POINTERS")
    graph.pointers.add(name)
    for target in POINTERS[name]:
        found = {title for title in graph.frames if title.rsplit(":", 1)[-1] == target}
        graph.calls.setdefault(caller, set()).update(found)


def taken_functions(relocations: str, functions: Iterable[str]) -> set[str]:
    """Which functions a program takes the address of, from what `objdump -r` says of its object files."""
    known = set(functions)
    found = re.findall(r"^[0-9a-f]+ (R_ARM_\w+) +(?:\.text\.)?(\w+)", relocations, re.MULTILINE)
    return {name for kind, name in found if name in known and not _BRANCH.search(kind)}


def deepest(graph: Graph, roots: Iterable[str] | None = None, *, in_callback: int = 0) -> Depth:
    """The deepest path from any of `roots` (all functions). `in_callback`: bytes that a callback takes of the core.
    Raises StackError where functions call each other in a circle."""
    known: dict[str, Depth] = {}

    def visit(name: str, above: Sequence[str]) -> Depth:
        if name in above:
            raise StackError(f"recursion: {' > '.join((*above[above.index(name) :], name))}")
        if name not in known:
            below = [visit(callee, (*above, name)) for callee in sorted(graph.callees(name))]
            if name in graph.calls_back:
                below.append(Depth(in_callback, ("callback",)))
            most = max(below, key=lambda depth: depth.size, default=Depth(0, ()))
            known[name] = Depth(graph.frames[name] + most.size, (name.rsplit(":", 1)[-1], *most.path))
        return known[name]

    starts = graph.frames if roots is None else roots
    return max((visit(name, ()) for name in sorted(starts)), key=lambda depth: depth.size, default=Depth(0, ()))


def worst(graph: Graph) -> Depth:
    """The deepest path of all, with callbacks that call the client again. Raises StackError."""
    again = [name for name in graph.frames if name.startswith("tw_client_") and name not in NOT_IN_CALLBACKS]
    return deepest(graph, in_callback=deepest(graph, again).size)
