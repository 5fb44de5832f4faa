"""Bytes of every system as bars: a line for each scene, its motion on the left, its first picture on the right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.report import Row

OURS: Final = "#0b6e4f"
EXACT: Final = "#5b8db8"
LOSSY: Final = "#dcb891"
INVALID: Final = "#c9c9c9"
INK: Final = "#22282e"
FAINT: Final = "#7d868e"

WIDTH_IN: Final = 13.0
MARGIN_IN: Final = 0.35
NAMES_IN: Final = 1.75
BARS_IN: Final = 2.9
LABELS_IN: Final = 1.6
BAR_IN: Final = 0.25
TITLE_IN: Final = 0.42
GAP_IN: Final = 0.22
HEAD_IN: Final = 1.2


def draw(rows: Sequence[Row], path: Path, subtitle: str) -> None:
    """Write the chart as a PNG."""
    lines: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        if row["bytes"]:
            scene, _, part = str(row["scene"]).partition(":")
            lines.setdefault(scene, {}).setdefault(part, []).append(row)
    heights = [max(map(len, parts.values())) * BAR_IN + TITLE_IN + GAP_IN for parts in lines.values()]
    height_in = HEAD_IN + sum(heights)
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 9, "text.color": INK}):
        figure = Figure(figsize=(WIDTH_IN, height_in), dpi=140, facecolor="white")
        FigureCanvasAgg(figure)
        _head(figure, height_in, subtitle)
        top_in = height_in - HEAD_IN
        for (scene, parts), line_in in zip(lines.items(), heights):
            for part, group in parts.items():
                left_in = MARGIN_IN + (WIDTH_IN / 2 if part else 0)
                figure.text(
                    left_in / WIDTH_IN,
                    (top_in - TITLE_IN * 0.5) / height_in,
                    f"{scene}: first picture" if part else scene,
                    fontsize=11,
                    weight="bold",
                    va="center",
                )
                bars_in = len(group) * BAR_IN
                bottom_in = top_in - TITLE_IN - bars_in
                box = (left_in + NAMES_IN) / WIDTH_IN, bottom_in / height_in, BARS_IN / WIDTH_IN, bars_in / height_in
                _bars(figure.add_axes(box), group)
            top_in -= line_in
        figure.savefig(path)


def _head(figure: Figure, height_in: float, subtitle: str) -> None:
    left = MARGIN_IN / WIDTH_IN
    title = "Bytes on the wire, server to device"
    figure.text(left, 1 - 0.32 / height_in, title, fontsize=15, weight="bold", va="center")
    figure.text(left, 1 - 0.62 / height_in, subtitle, color=FAINT, va="center")
    marks = ((OURS, "tilewire, lossless"), (EXACT, "others, lossless"), (LOSSY, "lossy"), (INVALID, "not comparable"))
    for place, (colour, text) in enumerate(marks):
        x = left + place * 1.6 / WIDTH_IN
        figure.text(x, 1 - 0.92 / height_in, "■", color=colour, fontsize=12, va="center")
        figure.text(x + 0.18 / WIDTH_IN, 1 - 0.92 / height_in, text, va="center")


def _bars(axes: Any, rows: Sequence[Row]) -> None:
    values = [float(str(row["bytes"])) for row in rows]
    ours = next((value for row, value in zip(rows, values) if row["system"] == "tilewire"), None)
    axes.barh(range(len(rows)), values, color=[_colour(row) for row in rows], height=0.74)
    axes.set_xlim(0, max(values))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [str(row["system"]) for row in rows])
    axes.tick_params(axis="y", length=0, pad=4)
    axes.xaxis.set_visible(False)
    axes.patch.set_visible(False)
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(False)
    for tick, row in zip(axes.get_yticklabels(), rows):
        tick.set_color(INK)
        if str(row["system"]).startswith("tilewire"):
            tick.set_weight("bold")
    right = axes.get_yaxis_transform()
    for place, (row, value) in enumerate(zip(rows, values)):
        texts = [size_text(value)]
        if ours and value != ours:
            times = value / ours
            texts.append(f"{times:,.0f}×" if times >= 9.5 else f"{times:.2g}×")
        value_ssim = row["ssim"]
        if isinstance(value_ssim, float) and not row["lossless"]:
            texts.append(f"SSIM {value_ssim:.4f}")
        for text, at_in, align in zip(texts, (0.62, 1.06, 1.13), ("right", "right", "left")):
            axes.text(
                1 + at_in / BARS_IN,
                place,
                text,
                transform=right,
                va="center",
                ha=align,
                fontsize=8.5 if at_in < 1 else 7.5,
                color=INK if at_in < 1 else FAINT,
            )


def _colour(row: Row) -> str:
    if not row["valid"]:
        return INVALID
    if not row["lossless"]:
        return LOSSY
    return OURS if str(row["system"]).startswith("tilewire") else EXACT


def size_text(value: float) -> str:
    """Bytes for people: 3.26 MB."""
    for unit, size in (("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def ratio_text(value: float) -> str:
    """How many times: 76×."""
    return f"{value:.0f}×" if value >= 10 else f"{value:.2g}×"
