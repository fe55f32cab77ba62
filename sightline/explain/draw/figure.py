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

    figure = Figure(figsize=(width, height), layout="compressed", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def check_format(path: Path) -> None:
    """Raise ValueError unless a figure can be written to a file of that ending."""
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"a figure's file ends in {', '.join(FORMATS)}; got {path.name!r}")


def save_figure(figure: Any, path: Path, dpi: int = 140) -> Path:
    """Write a figure; the folder is made when it is missing.

    Raises:
        ValueError: the ending is none of .png, .svg, .pdf.
    """
    import matplotlib as mpl

    check_format(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "sightline", "svg.fonttype": "none"}):
        figure.savefig(path, dpi=dpi, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
    return path
