"""What the API takes and gives, as models: from these its OpenAPI description is made.

What Jiomosa has keeps Jiomosa's names; docs/api.md compares. Times are Unix seconds, as numbers.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from tilewire.protocol.constants import MAX_SIDE
from tilewire.server.control.keysyms import keysym_of
from tilewire.server.store import Role
from tilewire.server.tickets import LONGEST_S

NAME: Final = r"^[A-Za-z0-9_-]{1,64}$"
MAX_TEXT: Final = 4096
"""Characters typed by one call: two screens of a terminal."""
MAX_INPUTS: Final = 256
"""Of one call: as many as wait for one viewer."""
MAX_URL: Final = 4096
FAR: Final = 100_000
"""Pixels: what is farther away than that is no screen's."""
YEARS_S: Final = 100 * 365 * 86400.0


class Answer(BaseModel):
    """What is given. Numbers are finite."""

    model_config = ConfigDict(allow_inf_nan=False, use_attribute_docstrings=True)


class Asked(BaseModel):
    """What is taken by routes that Jiomosa has too: what it does not know it ignores, as Jiomosa does."""

    model_config = ConfigDict(allow_inf_nan=False, strict=True, use_attribute_docstrings=True)


class OwnAsked(Asked):
    """What is taken by routes of our own: a name that means nothing is a typing error."""

    model_config = ConfigDict(extra="forbid")


def _whole(value: object) -> object:
    # JSON knows no integers: 400.0 is 400.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL character cannot stand here")
    return text


Name = Annotated[str, Field(pattern=NAME)]
DeviceName = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_no_nul)]
"""As in HELLO: up to 64 bytes of UTF-8, which the store checks."""
Int = Annotated[int, BeforeValidator(_whole)]
Count = Annotated[int, Field(ge=0)]
Place = Annotated[float, Field(ge=-FAR, le=FAR)]
Fps = Annotated[Int, Field(ge=1, le=60)]
Quality = Annotated[Int, Field(ge=10, le=90)]
Url = Annotated[str, Field(max_length=MAX_URL)]
ProfileNames = Annotated[list[Name], Field(max_length=256)]
State = Literal["starting", "running", "restarting", "ending"]
Kind = Literal["command", "chromium", "firefox"]


class Error(Answer):
    """What went wrong."""

    error: str
    """what, in words"""
    detail: str | None = None
    """what exactly, where more is known"""
    session_id: str | None = None
    """of which session"""
    success: Literal[False] | None = None
    """false where a page was tried and could not be loaded"""
    request_id: str
    """under which the server's log has it"""


class Done(Answer):
    """It was done."""

    success: Literal[True] = True


# The server.


class Health(Answer):
    """Whether it runs. These five fields and no other."""

    status: Literal["healthy"] = "healthy"
    service: Literal["jiomosa-renderer"] = "jiomosa-renderer"
    selenium: str
    """what drives the browsers; there is no Selenium here"""
    active_sessions: Count
    websocket: Literal["enabled"] = "enabled"
    """the device port speaks tilewire over WebSocket; Socket.IO is not spoken"""


class AlternativeAccess(Answer):
    """How else a session can be seen."""

    description: str
    url: str
    password: str


class SessionConfig(Answer):
    """What sessions begin with."""

    timeout: Count
    """seconds until a session ends that nobody looks at; 0: it stays"""
    frame_capture_interval: float
    """seconds between two pictures for viewers: nothing polls, so this is the shortest"""


class Info(Answer):
    """What this is."""

    service: Literal["Jiomosa Renderer"] = "Jiomosa Renderer"
    version: Literal["2.0.0"] = "2.0.0"
    """of the API that this one is compatible with"""
    server: str
    """the program and its version"""
    description: str
    streaming: str
    endpoints: dict[str, str]
    alternative_access: AlternativeAccess
    session_config: SessionConfig


class ProfileInfo(Answer):
    """A program that sessions can be made of."""

    name: str
    kind: Kind
    url: str | None
    """where a browser begins"""
    width: int
    height: int
    largest_width: int
    largest_height: int
    fps: int
    quality: int
    adaptive: bool
    idle_s: float | None
    lifetime_s: float | None
    restart: Literal["never", "crash", "always"]


class Profiles(Answer):
    """All of them, in the order of the configuration."""

    profiles: list[ProfileInfo]


# Sessions.


class ScreenSize(OwnAsked):
    """In pixels."""

    width: Annotated[Int, Field(ge=1, le=MAX_SIDE)]
    height: Annotated[Int, Field(ge=1, le=MAX_SIDE)]


class Create(Asked):
    """A session to be made."""

    session_id: Name | None = None
    """by default the server's choice"""
    profile: Name | None = None
    """needed where there are several"""
    device: DeviceName | None = None
    """whose it is to be: this device finds it, others do not. By default every device that may open the profile"""
    url: Url | None = None
    """browsers: the page to begin with"""
    size: ScreenSize | None = None
    """of the screen, within the profile's largest"""


class Created(Done):
    """A session was made, and its program runs."""

    session_id: str
    created_at: float
    profile: str
    device: str | None
    width: int
    height: int
    websocket_url: str
    """the device port; it speaks tilewire, not Socket.IO"""
    alternative_access: AlternativeAccess


class WindowSize(Answer):
    """In pixels of the page."""

    width: int
    height: int


class PageInfo(Answer):
    """What a browser shows."""

    title: str
    url: str
    session_id: str
    window_size: WindowSize


class Load(Asked):
    """A page to be loaded."""

    url: Url | None = None
    """needed; without a scheme it is https"""


class Loaded(Done):
    """The page has committed."""

    message: Literal["Page loaded successfully"] = "Page loaded successfully"
    page_info: PageInfo | None


class SessionInfo(Answer):
    """How a session stands."""

    session_id: str
    created_at: float
    last_activity: float
    page_info: PageInfo | None
    """null: it is no browser, or did not answer"""
    profile: str
    device: str | None
    state: State
    width: int
    height: int
    viewers: Count
    restarts: Count
    bytes_down: Count
    """to all its viewers so far"""
    bytes_up: Count


class KeptAlive(Done):
    """The session stays for its idle time again."""

    session_id: str
    last_activity: float
    message: Literal["Keepalive successful"] = "Keepalive successful"


class Message(Done):
    """It was done, in words."""

    message: str


class SessionLine(Answer):
    """One session of the list."""

    session_id: str
    created_at: float
    last_activity: float
    current_page: str | None
    """the browser's URL"""
    profile: str
    device: str | None
    state: State
    viewers: Count


class Sessions(Answer):
    """All sessions, in the order in which they were made."""

    active_sessions: Count
    sessions: list[SessionLine]


class Frame(Done):
    """A picture as text."""

    session_id: str
    timestamp: float
    frame: str
    """base64 of a PNG"""
    format: Literal["png"] = "png"


class Settings(Answer):
    """What viewers begin with, and the most updates a second."""

    fps: int
    quality: int
    """of JPEG, for photographs until they rest"""
    adaptive: bool


class NewSettings(OwnAsked):
    """What is to change, for all viewers that are there and all that come."""

    fps: Fps | None = None
    quality: Quality | None = None
    adaptive: bool | None = None


# Input.


class Coordinates(Answer):
    """In pixels of the screen."""

    x: float
    y: float


class Click(Asked):
    """The left button, down and up."""

    x: Place = 0
    y: Place = 0


class Clicked(Message):
    """It was clicked, where that is on the screen."""

    coordinates: Coordinates
    inside: bool
    """false: there is no such place, and nothing was clicked"""


class Scroll(Asked):
    """The wheel, at the pointer. Positive: right and down."""

    delta_x: Annotated[Place, Field(alias="deltaX")] = 0
    delta_y: Annotated[Place, Field(alias="deltaY")] = 0


class ScrolledBy(Answer):
    """As it was asked for, in pixels."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    delta_x: Annotated[float, Field(alias="deltaX")]
    delta_y: Annotated[float, Field(alias="deltaY")]


class Scrolled(Message):
    """The wheel was turned."""

    scroll: ScrolledBy


class Typing(Asked):
    """Characters to type."""

    text: Annotated[str, Field(max_length=MAX_TEXT)] = ""


KeyName = Literal[
    "Enter",
    "Backspace",
    "Tab",
    "Escape",
    "Delete",
    "ArrowUp",
    "ArrowDown",
    "ArrowLeft",
    "ArrowRight",
    "Home",
    "End",
    "PageUp",
    "PageDown",
    "Space",
]


class KeyStroke(Asked):
    """A key, down and up."""

    key: KeyName


class MoveInput(OwnAsked):
    """The pointer goes to a pixel of the screen."""

    type: Literal["move"]
    x: Annotated[Int, Field(ge=0, lt=MAX_SIDE)]
    y: Annotated[Int, Field(ge=0, lt=MAX_SIDE)]


class ButtonInput(OwnAsked):
    """A pointer button goes down or up: 1 left, 2 middle, 3 right, 8 back, 9 forward."""

    type: Literal["button"]
    button: Literal[1, 2, 3, 8, 9] = 1
    pressed: bool


class WheelInput(OwnAsked):
    """The wheel turns by so many notches. Positive: right and down."""

    type: Literal["wheel"]
    right: Annotated[Int, Field(ge=-32, le=32)] = 0
    down: Annotated[Int, Field(ge=-32, le=32)] = 0


class KeyInput(OwnAsked):
    """A key goes down or up."""

    type: Literal["key"]
    keysym: Annotated[str, Field(min_length=1, max_length=32), AfterValidator(keysym_of)]
    """its name in X, such as `Return`, `a` or `F1`, or its number as `0xff0d`"""
    pressed: bool


class TextInput(OwnAsked):
    """Characters are typed, whatever keys the keyboard has."""

    type: Literal["text"]
    text: Annotated[str, Field(max_length=MAX_TEXT)]


AnyInput = Annotated[MoveInput | ButtonInput | WheelInput | KeyInput | TextInput, Field(discriminator="type")]


class Inputs(OwnAsked):
    """One after the other. What is still held at the end is let go of."""

    inputs: Annotated[list[AnyInput], Field(min_length=1, max_length=MAX_INPUTS)]


class Injected(Done):
    """The X server has taken it."""

    untyped: Count
    """keys and characters for which the keyboard had no key"""


class FingerInput(OwnAsked):
    """One finger that is down."""

    id: Annotated[Int, Field(ge=0, le=255)]
    x: Annotated[Int, Field(ge=0, lt=MAX_SIDE)]
    y: Annotated[Int, Field(ge=0, lt=MAX_SIDE)]


class TouchInput(OwnAsked):
    """All fingers that are down now; none: all are lifted."""

    fingers: Annotated[list[FingerInput], Field(max_length=10)]


# Viewers.

RoleName = Literal["view-only", "waiting", "control"]


class ViewerInfo(Answer):
    """One device that looks, and its figures."""

    viewer: int
    """its number in this session"""
    device: str
    address: str
    authenticated: bool
    """whether the device has shown its key"""
    connected_s: float
    """for how long"""
    role: RoleName
    width: int
    height: int
    pixel_format: str
    fps: int
    quality: int
    adaptive: bool
    paused: bool
    """whether it wants no pixels now"""
    updates: Count
    bytes_down: Count | None
    bytes_up: Count | None
    in_flight_bytes: Count
    """sent, and not acknowledged yet"""
    round_trip_ms: float | None
    """the shortest from an update to its acknowledgement"""
    bytes_per_s: float | None
    """by the last acknowledgement"""


class Viewers(Answer):
    """All of a session, in the order in which they came."""

    session_id: str
    viewers: list[ViewerInfo]


class NewRole(OwnAsked):
    """What a viewer may do from now on, as far as its device ever may."""

    role: RoleName


TicketRole = Literal["viewer", "operator"]


class TicketAsked(OwnAsked):
    """A ticket to be given."""

    role: TicketRole = "viewer"
    """a viewer only looks, an operator may steer"""
    lifetime_s: Annotated[float, Field(gt=0, le=LONGEST_S)] = 300
    """until it, and whoever came in by it, has to leave"""
    uses: Annotated[Int, Field(ge=1, le=1000)] = 1
    """for how many handshakes it is good"""


class TicketGiven(Done):
    """A ticket, shown this once."""

    session_id: str
    ticket: str
    """for HELLO"""
    role: TicketRole
    expires_at: float
    uses: int
    device_url: str
    """where devices connect"""
    websocket_url: str
    """where browsers do"""


# Devices, tokens, usage.


class DeviceInfo(Answer):
    """A device that is known. Its key is never shown again."""

    name: str
    profiles: list[str]
    """which it may open; none: what the access rules say"""
    default: str | None
    disabled: bool
    created_at: float
    seen_at: float | None
    """when it was last let in, to a minute"""


class Devices(Answer):
    """All of them, by name."""

    devices: list[DeviceInfo]


class DeviceAsked(OwnAsked):
    """A device to be known."""

    name: DeviceName
    profiles: ProfileNames = Field(default_factory=list)
    """which it may open; none: what the access rules say"""
    default: Name | None = None
    """which it gets when it asks for none"""


class DeviceKey(Done):
    """A device's key, shown this once."""

    name: str
    key: str
    """64 hexadecimal digits"""
    c: str
    """for a firmware in C"""
    micropython: str
    """for one in MicroPython"""


class DeviceState(OwnAsked):
    """What is to change."""

    disabled: bool | None = None
    """whether it is kept out"""
    profiles: ProfileNames | None = None
    """set together with `default`"""
    default: Name | None = None


class TokenInfo(Answer):
    """A token that was given out. The token itself is not kept."""

    id: int
    name: str
    role: Role
    created_at: float
    expires_at: float | None
    used_at: float | None
    """to a minute"""


class Tokens(Answer):
    """All of them, expired ones too."""

    tokens: list[TokenInfo]


class TokenAsked(OwnAsked):
    """A token to be made."""

    name: Annotated[str, Field(max_length=200)] = ""
    """what it is for"""
    role: Annotated[Role, Field(strict=False)] = Role.VIEWER
    lifetime_s: Annotated[float, Field(gt=0, le=YEARS_S)] | None = 90 * 86400.0
    """null: until it is revoked"""


class TokenGiven(Done):
    """A token, shown this once."""

    token: str
    role: Role
    expires_at: float | None


class UsageLine(Answer):
    """One session: how long it was there, how long it was looked at, what went over the wire."""

    id: int
    session: str
    profile: str
    device: str | None
    started: str
    """UTC, as 2026-01-31T23:59:59Z"""
    ended: str | None
    """null: it runs"""
    seconds: float
    viewer_seconds: float
    """two viewers count twice"""
    bytes_down: int
    bytes_up: int
    reason: str | None
