"""What all figures share: one style, one way to the file."""

from pathlib import Path
from typing import Any

FORMATS = (".png", ".svg", ".pdf")
SEQUENTIAL, DIVERGING = "cividis", "RdBu_r"
"""Even to the eye and safe for colour-blind readers; red raises, blue lowers."""
MARK = "#ff2d78"  # the query, ringed in white


def new_figure(width: float, height: float) -> Any:
    """A figure of matplotlib's that no window system knows of, in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: Path, dpi: int = 140) -> Path:
    """Write a figure; the folder is made when it is missing.

    Raises:
        ValueError: the ending is none of .png, .svg, .pdf.
    """
    import matplotlib as mpl

    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"a figure's file ends in {', '.join(FORMATS)}; got {path.name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "sightline", "svg.fonttype": "none"}):
        figure.savefig(path, dpi=dpi, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
    return path
