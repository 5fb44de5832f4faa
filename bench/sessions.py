"""One scene through one live system: the same stage, the same hands, another way to the viewer.

A session starts the X server and the program, carries out the scene's `before`, connects the viewer and waits until it
shows the screen (the *still*: what a first picture costs). Then come the scene's steps. The motion ends with the X
server's last report of a change; bytes are counted up to TAIL_S after that, which lets the update for the last change
through, but not the refinement of a lossy picture that has come to rest. After that the session waits until the viewer
shows exactly what the screen shows, which gives bytes_to_exact.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from bench.scenes import Scene
from bench.stage import Hands, StageError, Watch, XServer, actors, digest, home, process, program_words

FPS: Final = 30
TAIL_S: Final = 0.1
BEFORE_S: Final = 60.0
REST_S: Final = 0.5
"""A screen that has not changed for so long after the last step is at rest."""
EXACT_S: Final = 10.0
"""How long a viewer may take to show a resting screen exactly."""
LOSSY_S: Final = 3.0
"""The same for one that does not promise it: its refinement is over by then."""
POLL_S: Final = 0.04


@dataclass(frozen=True, slots=True)
class Arrival:
    """An update as the viewer got it."""

    when_s: float
    total: int
    """Bytes from the server up to and including it, cursor shapes left out."""
    drawing: bool = True
    """It has pixels."""
    news: bool = True
    """They show what the screen has become; False: they only refine what was sent before."""
    picture: str | None = None
    """Digest of what the viewer showed then, where that is known."""
    lossy: bool = False
    """Some of it is known to be lossy by its encoding."""
    end: int = 0
    """Offset in the server's stream of the byte after it, where the stream is kept."""


class Link(Protocol):
    """A connected viewer of some system."""

    def up(self) -> int:
        """Bytes to the server so far."""

    def check(self) -> None:
        """Raise StageError when the connection is over."""

    def shows(self, source: bytes) -> bool:
        """Whether the viewer shows this screen, XRGB8888 with unused bytes cleared."""

    def server_cpu_s(self) -> float:
        """Processor time of the X server and of whatever encodes."""

    def client_cpu_s(self) -> float:
        """Processor time of the viewer."""

    def finish(self, session: Session) -> None:
        """It is over: complete the session's record."""


class System(Protocol):
    """Something that shows an X screen elsewhere."""

    @property
    def name(self) -> str:
        """As the rows have it."""

    @property
    def exact(self) -> bool:
        """Whether its viewer shows a resting screen exactly, sooner or later: then a session waits for it."""

    def stage(self, size: tuple[int, int], folder: Path) -> AbstractContextManager[XServer]:
        """The X server that the program runs on. Raises StageError."""

    def connect(self, server: XServer, size: tuple[int, int], folder: Path) -> AbstractContextManager[Link]:
        """A viewer. Raises StageError."""


@dataclass(slots=True, kw_only=True)
class Session:
    """What was measured. Times in seconds of the monotonic clock."""

    system: str
    arrivals: Sequence[Arrival] = ()
    still_exact: bool = False
    connected_s: float = 0.0
    begun_s: float = 0.0
    ended_s: float = 0.0
    """The last change of the screen."""
    exact_s: float | None = None
    up: int = 0
    server_cpu_s: float = 0.0
    client_cpu_s: float = 0.0
    started_with: str = ""
    ended_with: str = ""
    """Digests of the screen before and after the motion."""
    folder: Path = field(default_factory=Path)

    def _total(self, when_s: float) -> int:
        """Bytes of all updates that had come by then."""
        at = bisect.bisect_right([arrival.when_s for arrival in self.arrivals], when_s)
        return self.arrivals[at - 1].total if at else 0

    @property
    def cut_s(self) -> float:
        """Up to when bytes count as the motion's."""
        return self.ended_s + TAIL_S

    @property
    def still_bytes(self) -> int | None:
        """Bytes from the connection on until the first picture stood there."""
        return self._total(self.begun_s) or None

    @property
    def bytes(self) -> int:
        """Bytes for the motion."""
        return self._total(self.cut_s) - self._total(self.begun_s)

    @property
    def bytes_to_exact(self) -> int | None:
        """Bytes until the viewer showed the resting screen exactly."""
        if self.exact_s is None:
            return None
        return max(self._total(self.exact_s) - self._total(self.begun_s), self.bytes)

    @property
    def moving(self) -> list[Arrival]:
        """The updates of the motion."""
        return [a for a in self.arrivals if a.drawing and self.begun_s < a.when_s <= self.cut_s]

    @property
    def updates(self) -> int:
        """How many states of the screen the motion's updates showed: refinements of one are not counted."""
        return sum(arrival.news for arrival in self.moving)


def play(scene: Scene, system: System, folder: Path) -> Session:
    """Carry out a scene in an empty folder. Raises StageError."""
    session = Session(system=system.name, folder=folder)
    program = program_words(scene, folder)
    with ExitStack() as stack:
        server = stack.enter_context(system.stage(scene.size, folder))
        hands, eyes = stack.enter_context(actors(server, scene.size))
        environment = {**home(folder), "DISPLAY": server.name}
        running = stack.enter_context(process(program, folder / "program.log", environment=environment, folder=folder))
        limit_s = time.monotonic() + BEFORE_S
        for step in scene.before:
            hands.do(step, eyes, limit_s)
        eyes.quiet(REST_S, 2)
        if running.poll() is not None:
            raise StageError(f"{scene.name}: {program[0]} ended before its scene; see {folder / 'program.log'}")
        session.connected_s = time.monotonic()
        link = stack.enter_context(system.connect(server, scene.size, folder))
        session.still_exact = _until_exact(link, eyes, system.exact) is not None
        if system.exact and not session.still_exact:
            raise StageError(f"{system.name} did not show the first picture exactly within {EXACT_S:g} s")
        time.sleep(REST_S)
        _move(scene, session, hands, eyes, link, system.exact)
        link.finish(session)
    return session


def _move(scene: Scene, session: Session, hands: Hands, eyes: Watch, link: Link, exact: bool) -> None:
    session.started_with = digest(eyes.picture())
    up, server, client = link.up(), link.server_cpu_s(), link.client_cpu_s()
    session.begun_s = time.monotonic()
    hands.rest(0.01)
    for step in scene.steps:
        hands.do(step, eyes, session.begun_s + scene.limit_s)
        link.check()
    eyes.quiet(REST_S, 1, scene.limit_s)
    session.ended_s = max(eyes.changed_s, session.begun_s)
    session.up = link.up() - up
    session.server_cpu_s = link.server_cpu_s() - server
    session.client_cpu_s = link.client_cpu_s() - client
    session.exact_s = _until_exact(link, eyes, exact)
    session.ended_with = digest(eyes.picture())


def _until_exact(link: Link, eyes: Watch, exact: bool) -> float | None:
    """Wait until the viewer shows the screen as it is; when it did, None if it did not in time."""
    deadline = time.monotonic() + (EXACT_S if exact else LOSSY_S)
    while time.monotonic() < deadline:
        link.check()
        if link.shows(eyes.picture()):
            return time.monotonic()
        time.sleep(POLL_S)
    return None
