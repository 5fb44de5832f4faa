"""A fleet's table as a picture: a line for each device; updates a second, bytes, and the time from input to picture."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

QEMU: Final = "#0b6e4f"
CLIENT: Final = "#5b8db8"
FAILED: Final = "#c05a4a"
INK: Final = "#22282e"
FAINT: Final = "#7d868e"

WIDTH_IN: Final = 13.0
MARGIN_IN: Final = 0.35
NAMES_IN: Final = 2.9
BARS_IN: Final = 2.2
LABELS_IN: Final = 0.85
BAR_IN: Final = 0.25
HEAD_IN: Final = 1.55
FOOT_IN: Final = 0.3
MARKS: Final = ((QEMU, "QEMU"), (CLIENT, "C client in a process"), (FAILED, "failed"))

Row = Mapping[str, Any]


def is_possible() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(rows: Sequence[Row], path: Path, subtitle: str) -> None:
    """Write the chart as a PNG. Raises OSError."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bars_in = len(rows) * BAR_IN
    height_in = HEAD_IN + bars_in + FOOT_IN
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 9, "text.color": INK}):
        figure = Figure(figsize=(WIDTH_IN, height_in), dpi=140, facecolor="white")
        FigureCanvasAgg(figure)
        _head(figure, height_in, subtitle)
        for place, (title, values) in enumerate(_columns(rows)):
            left_in = MARGIN_IN + NAMES_IN + place * (BARS_IN + LABELS_IN)
            figure.text(
                left_in / WIDTH_IN, 1 - (HEAD_IN - 0.2) / height_in, title, fontsize=11, weight="bold", va="center"
            )
            box = left_in / WIDTH_IN, FOOT_IN / height_in, BARS_IN / WIDTH_IN, bars_in / height_in
            _bars(figure.add_axes(box), rows, values, named=place == 0)
        figure.savefig(path)


def _columns(rows: Sequence[Row]) -> list[tuple[str, list[tuple[float, float, str]]]]:
    """Title; for each device the bar, its end of another shade (0: none), and the label."""
    rates = [(row["updates_per_s"] or 0.0, 0.0, f"{row['updates_per_s'] or 0:.1f}") for row in rows]
    sizes = [(float(row["bytes"]), 0.0, _size_text(row["bytes"])) for row in rows]
    times = [
        (0.0, 0.0, "none timed")
        if row["input_to_picture_ms"] is None
        else (
            row["input_to_picture_ms"]["p50"],
            row["input_to_picture_ms"]["p95"],
            _times_text(row["input_to_picture_ms"]),
        )
        for row in rows
    ]
    return [("Updates a second", rates), ("Bytes, server to device", sizes), ("Input to picture, p50 – p95", times)]


def _head(figure: Any, height_in: float, subtitle: str) -> None:
    left = MARGIN_IN / WIDTH_IN
    figure.text(left, 1 - 0.32 / height_in, "A fleet on one server", fontsize=15, weight="bold", va="center")
    figure.text(left, 1 - 0.62 / height_in, subtitle, color=FAINT, va="center")
    for place, (colour, text) in enumerate(MARKS):
        x = left + place * 1.7 / WIDTH_IN
        figure.text(x, 1 - 0.92 / height_in, "■", color=colour, fontsize=12, va="center")
        figure.text(x + 0.18 / WIDTH_IN, 1 - 0.92 / height_in, text, va="center")


def _bars(axes: Any, rows: Sequence[Row], values: Sequence[tuple[float, float, str]], *, named: bool) -> None:
    colours = [_colour(row) for row in rows]
    places = range(len(rows))
    axes.barh(places, [max(bar, end) for bar, end, _ in values], color=colours, height=0.74, alpha=0.35)
    axes.barh(places, [bar for bar, _, _ in values], color=colours, height=0.74)
    most = max((max(bar, end) for bar, end, _ in values), default=0.0)
    axes.set_xlim(0, most or 1.0)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    names = [f"{row['shows']}  {row['device']:>2}" for row in rows] if named else []
    axes.set_yticks(list(places) if named else [], names)
    axes.tick_params(axis="y", length=0, pad=4)
    axes.xaxis.set_visible(False)
    axes.patch.set_visible(False)
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(False)
    for tick, row in zip(axes.get_yticklabels(), rows):
        tick.set_color(FAILED if row["errors"] else INK)
        if row["kind"] == "QEMU":
            tick.set_weight("bold")
    for place, (_, _, text) in enumerate(values):
        axes.text(
            1.02,
            place,
            text,
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=8.5,
            color=FAINT if text == "none timed" else INK,
        )


def _colour(row: Row) -> str:
    if row["errors"]:
        return FAILED
    return QEMU if row["kind"] == "QEMU" else CLIENT


def _times_text(times: Mapping[str, float]) -> str:
    ends = list(dict.fromkeys(f"{times[name]:.0f}" for name in ("p50", "p95")))
    return f"{' – '.join(ends)} ms"


def _size_text(value: float) -> str:
    for unit, size in (("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"
