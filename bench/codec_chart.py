"""The codec's rows as bars: the decoder's instructions, the encoder's speed, stills beside other formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def draw(rows: Sequence[Row], path: Path, targets: Mapping[str, tuple[float, float]], subtitle: str) -> None:
    """Write the chart as a PNG. targets: for each variant most instructions and least Mpixel/s."""
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
        most = [targets[str(row["variant"])][0] for row in rows]
        least = [targets[str(row["variant"])][1] for row in rows]
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


def _bare(axes: Any, title: str, rows: int) -> None:
    axes.set_title(title, fontsize=9.5, loc="left", pad=8)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_yticks([])
    axes.tick_params(axis="y", length=0, pad=4)
    axes.xaxis.set_visible(False)
    axes.patch.set_visible(False)
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(False)


def _label(axes: Any, place: float, value: float, text: str, *, good: bool = True) -> None:
    axes.annotate(
        text,
        (value, place),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=7.5,
        color=INK if good else MISSED,
    )


def _instructions(axes: Any, rows: Sequence[Row], most: Sequence[float]) -> None:
    native = [_number(row["decode_instructions_per_pixel"]) for row in rows]
    thumb = [_number(row["decode_thumb2_per_pixel"]) for row in rows]
    places = range(len(rows))
    axes.barh([place - 0.18 for place in places], native, height=0.34, color=OURS)
    axes.barh([place + 0.18 for place in places], thumb, height=0.34, color=LIGHT)
    for place, (one, two, target) in enumerate(zip(native, thumb, most)):
        axes.plot([target, target], [place - 0.45, place + 0.45], color=INK, linewidth=1.2)
        _label(axes, place - 0.18, max(one, target if one > target * 0.75 else 0), f"{one:.0f}", good=one <= target)
        _label(axes, place + 0.18, max(two, target if two > target * 0.75 else 0), f"{two:.0f}")
    axes.set_xlim(0, max([*native, *thumb, *most]) * 1.1)
    _bare(axes, "decode, instructions per pixel: x86-64,\nThumb-2 (light); line: target (x86-64)", len(rows))


def _speed(axes: Any, rows: Sequence[Row], least: Sequence[float]) -> None:
    values = [_number(row["encode_mpixel_per_s"]) for row in rows]
    axes.barh(range(len(rows)), [min(value, FASTEST) for value in values], height=0.68, color=OURS)
    for place, (value, target) in enumerate(zip(values, least)):
        axes.plot([target, target], [place - 0.42, place + 0.42], color=INK, linewidth=1.2)
        near = value < target and value > target * 0.75
        at = target if near else min(value, FASTEST)
        _label(axes, place, at, f"{value:.0f}" + (" »" if value > FASTEST else ""), good=value >= target)
    axes.set_xlim(0, FASTEST * 1.15)
    _bare(axes, "encode, Mpixel/s on one core\nline: target", len(rows))


def _stills(axes: Any, rows: Sequence[Row]) -> None:
    _bare(axes, "stills, bytes: times lossless WebP\n(■ ours, ◆ PNG, ● QOI)", len(rows))
    axes.set_xlim(0, LARGEST * 1.25)
    axes.axvline(1, color=FAINT, linewidth=0.8)
    for place, row in enumerate(rows):
        webp = _number(row["webp"])
        if not webp:
            continue
        ours = _number(row["bytes"]) / webp
        axes.barh([place], [ours], height=0.5, color=OURS)
        _label(axes, place, ours if ours < 0.6 or ours > 1 else 1.0, f"{ours:.2f}")
        beyond = []
        for key, mark, sign in (("png", "D", "◆"), ("qoi", "o", "●")):
            other = _number(row[key]) / webp
            if other > LARGEST:
                beyond.append(f"{sign} {other:.0f}")
                continue
            axes.plot([other], [place], mark, color=EXACT, markersize=4.5)
            _label(axes, place, other, f"{other:.1f}")
        if beyond:
            _label(axes, place, LARGEST * 0.9, "  ".join(beyond) + " »")
