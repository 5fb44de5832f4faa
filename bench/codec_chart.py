"""The codec's rows as bars: the decoder's instructions, the encoder's speed, stills beside other formats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.chart import EXACT, FAINT, INK, OURS
from bench.report import Row

LIGHT: Final = "#8cc0ae"
MISSED: Final = "#c0392b"
WIDTH_IN: Final = 14.0
NAMES_IN: Final = 2.5
PANEL_IN: Final = 2.9
GAP_IN: Final = 0.75
HEAD_IN: Final = 1.35
FOOT_IN: Final = 0.35
BAR_IN: Final = 0.3
FASTEST: Final = 240.0
"""Mpixel/s that the axis reaches to; flat pictures are encoded much faster."""
LARGEST: Final = 5.0
"""Times WebP that the axis reaches to."""


def draw(rows: Sequence[Row], path: Path, targets: Sequence[tuple[float, float] | None], subtitle: str) -> None:
    """Write the chart as a PNG. targets: for each row most instructions and least Mpixel/s, None where it has none."""
    height_in = HEAD_IN + FOOT_IN + len(rows) * BAR_IN
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 9, "text.color": INK}):
        figure = Figure(figsize=(WIDTH_IN, height_in), dpi=140, facecolor="white")
        FigureCanvasAgg(figure)
        top = 1 - 0.32 / height_in
        figure.text(0.02, top, "The lossless tile codec by itself", fontsize=15, weight="bold", va="center")
        figure.text(0.02, 1 - 0.62 / height_in, subtitle, color=FAINT, va="center")
        panels = []
        for place in range(3):
            left_in = NAMES_IN + place * (PANEL_IN + GAP_IN)
            box = (left_in / WIDTH_IN, FOOT_IN / height_in, PANEL_IN / WIDTH_IN, len(rows) * BAR_IN / height_in)
            panels.append(figure.add_axes(box))
        most = [None if target is None else target[0] for target in targets]
        least = [None if target is None else target[1] for target in targets]
        _instructions(panels[0], rows, most)
        _speed(panels[1], rows, least)
        _stills(panels[2], rows)
        panels[0].set_yticks(range(len(rows)), [_name(row) for row in rows])
        for tick, row in zip(panels[0].get_yticklabels(), rows):
            tick.set_color(INK)
            tick.set_fontweight("bold" if row["variant"] == "live" else "normal")
        figure.savefig(path)


def _name(row: Row) -> str:
    return f"{row['scene']}  {'565' if row['pixel_format'] == 'RGB565' else '8888'}  {row['variant']}"


def _number(value: object) -> float:
    return float(str(value)) if value is not None else 0.0


def bare(axes: Any, title: str, rows: int) -> None:
    """A panel of bars, one for each row from the top down, without scales and frame: the labels have the figures."""
    axes.set_title(title, fontsize=9.5, loc="left", pad=8)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_yticks([])
    axes.tick_params(axis="y", length=0, pad=4)
    axes.xaxis.set_visible(False)
    axes.patch.set_visible(False)
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(False)


def label(axes: Any, place: float, value: float, text: str, *, good: bool = True) -> None:
    """A figure beside a bar that ends at `value`, in red where it is not good."""
    axes.annotate(
        text,
        (value, place),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=7.5,
        color=INK if good else MISSED,
    )


def _line(axes: Any, place: int, target: float | None) -> None:
    if target is not None:
        axes.plot([target, target], [place - 0.43, place + 0.43], color=INK, linewidth=1.2)


def _beside(value: float, target: float | None) -> float:
    """Where a bar's label begins: not on the target's line."""
    return value if target is None or not target * 0.6 < value < target else target


def _instructions(axes: Any, rows: Sequence[Row], most: Sequence[float | None]) -> None:
    native = [_number(row["decode_instructions_per_pixel"]) for row in rows]
    thumb = [_number(row["decode_thumb2_per_pixel"]) for row in rows]
    places = range(len(rows))
    axes.barh([place - 0.18 for place in places], native, height=0.34, color=OURS)
    axes.barh([place + 0.18 for place in places], thumb, height=0.34, color=LIGHT)
    for place, (one, two, target) in enumerate(zip(native, thumb, most)):
        _line(axes, place, target)
        label(axes, place - 0.18, _beside(one, target), f"{one:.0f}", good=target is None or one <= target)
        label(axes, place + 0.18, _beside(two, target), f"{two:.0f}")
    axes.set_xlim(0, max([*native, *thumb, 200]) * 1.1)
    bare(axes, "decode, instructions per pixel: x86-64,\nThumb-2 (light); line: target (x86-64)", len(rows))


def _speed(axes: Any, rows: Sequence[Row], least: Sequence[float | None]) -> None:
    values = [_number(row["encode_mpixel_per_s"]) for row in rows]
    axes.barh(range(len(rows)), [min(value, FASTEST) for value in values], height=0.68, color=OURS)
    for place, (value, target) in enumerate(zip(values, least)):
        _line(axes, place, target)
        text = f"{value:.0f}" + (" »" if value > FASTEST else "")
        label(axes, place, _beside(min(value, FASTEST), target), text, good=target is None or value >= target)
    axes.set_xlim(0, FASTEST * 1.15)
    bare(axes, "encode, Mpixel/s on one core\nline: target", len(rows))


def _stills(axes: Any, rows: Sequence[Row]) -> None:
    bare(axes, "stills, bytes: times lossless WebP\n(■ ours, ◆ PNG, ● QOI)", len(rows))
    axes.set_xlim(0, LARGEST * 1.6)
    axes.axvline(1, color=FAINT, linewidth=0.8)
    for place, row in enumerate(rows):
        webp = _number(row["webp"])
        if not webp:
            continue
        ours, png, qoi = (_number(row[key]) / webp for key in ("bytes", "png", "qoi"))
        axes.barh([place], [ours], height=0.5, color=OURS)
        for other, mark in ((png, "D"), (qoi, "o")):
            if other <= LARGEST:
                axes.plot([other], [place], mark, color=EXACT, markersize=4.5)
        said = f"{ours:.2f}   ◆ {png:.1f}  ● {qoi:.1f}"
        axes.text(LARGEST * 1.02, place, said, va="center", fontsize=7.5)
