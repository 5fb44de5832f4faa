"""The JPEG decoder's table as bars: instructions on x86-64 and in Thumb-2, and how far it is from libjpeg-turbo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.chart import FAINT, INK, OURS
from bench.codec_chart import LIGHT, bare, label
from bench.report import Row

WIDTH_IN: Final = 12.0
NAMES_IN: Final = 2.1
COUNTS_IN: Final = 6.6
APART_IN: Final = 1.9
GAP_IN: Final = 0.8
HEAD_IN: Final = 1.35
FOOT_IN: Final = 0.35
BAR_IN: Final = 0.34
FARTHEST: Final = 4.0
"""Levels that the axis reaches to: as many as SPEC.md allows."""


def draw(rows: Sequence[Row], path: Path, targets: Sequence[float | None], subtitle: str) -> None:
    """Write the chart as a PNG. targets: for each row the most instructions on x86-64, None where it has none."""
    height_in = HEAD_IN + FOOT_IN + len(rows) * BAR_IN
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 9, "text.color": INK}):
        figure = Figure(figsize=(WIDTH_IN, height_in), dpi=140, facecolor="white")
        FigureCanvasAgg(figure)
        figure.text(0.02, 1 - 0.32 / height_in, "The JPEG decoder by itself", fontsize=15, weight="bold", va="center")
        figure.text(0.02, 1 - 0.62 / height_in, subtitle, color=FAINT, va="center")
        panels = []
        left_in = NAMES_IN
        for width_in in (COUNTS_IN, APART_IN):
            box = (left_in / WIDTH_IN, FOOT_IN / height_in, width_in / WIDTH_IN, len(rows) * BAR_IN / height_in)
            panels.append(figure.add_axes(box))
            left_in += width_in + GAP_IN
        _instructions(panels[0], rows, targets)
        _apart(panels[1], rows)
        panels[0].set_yticks(range(len(rows)), [_name(row) for row in rows])
        for tick, one_target in zip(panels[0].get_yticklabels(), targets):
            tick.set_color(INK)
            tick.set_fontweight("normal" if one_target is None else "bold")
        figure.savefig(path)


def _name(row: Row) -> str:
    doubled = "  twice" if row["scale"] == 2 else ""
    return f"{row['sampling']}  q{row['quality']}  {'565' if row['pixel_format'] == 'RGB565' else '8888'}{doubled}"


def _instructions(axes: Any, rows: Sequence[Row], targets: Sequence[float | None]) -> None:
    native = [float(str(row["x86-64"])) for row in rows]
    thumb = [float(str(row["Thumb-2"])) for row in rows]
    places = range(len(rows))
    axes.barh([place - 0.18 for place in places], native, height=0.34, color=OURS)
    axes.barh([place + 0.18 for place in places], thumb, height=0.34, color=LIGHT)
    for place, (one, other, most) in enumerate(zip(native, thumb, targets)):
        if most is not None:
            axes.plot([most, most], [place - 0.38, place + 0.02], color=INK, linewidth=1.4)
        beside = one if most is None else max(one, most)
        label(axes, place - 0.18, beside, f"{one:.1f}", good=most is None or one <= most)
        label(axes, place + 0.18, other, f"{other:.1f}")
    axes.set_xlim(0, max([*native, *thumb]) * 1.08)
    bare(axes, "instructions per pixel: x86-64, Thumb-2 (light), both gcc -O2; line: target (x86-64)", len(rows))


def _apart(axes: Any, rows: Sequence[Row]) -> None:
    for place, row in enumerate(rows):
        if row["most apart"] is None:
            continue
        mean, most = float(str(row["mean apart"])), float(str(row["most apart"]))
        axes.barh([place], [most], height=0.5, color=LIGHT)
        axes.barh([place], [mean], height=0.5, color=OURS)
        label(axes, place, most, f"{mean:.2f}, {most:.0f}")
    axes.set_xlim(0, FARTHEST)
    bare(axes, "levels from libjpeg-turbo,\nof 255: mean, most (light)", len(rows))
