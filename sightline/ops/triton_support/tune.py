"""Which of a kernel's few configurations is fastest: timed once for each card and kind of operands, then read from a file.

The file is triton.json in SIGHTLINE_CACHE, by default ~/.cache/sightline; losing it costs the timing again. SIGHTLINE_TUNE=0 takes
every kernel's first configuration. While a CUDA graph is recorded nothing can be timed: then too, unless the choice is known.
"""

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

TIMES = 10  # launches a sample
Configuration = Mapping[str, Any]
_known: dict[str, int] | None = None


def fastest(
    kind: str,
    candidates: Sequence[Configuration],
    start: Callable[[Configuration], None],
    seconds: Callable[[Callable[[], None]], float] | None = None,
) -> Configuration:
    """The candidate to launch for this kind of operands; `start` launches one (any number of times, to the same effect).

    Candidates that do not fit the card are passed over.

    Raises:
        RuntimeError: none fits.
    """
    if len(candidates) == 1:
        return candidates[0]
    key = f"{kind}, of {len(candidates)}"
    place = _choices().get(key)
    if place is None:
        if os.environ.get("SIGHTLINE_TUNE") == "0" or (torch.cuda.is_available() and _recording()):
            return candidates[0]
        place = _measured(kind, candidates, start, gpu_seconds if seconds is None else seconds)
        _keep(key, place)
    return candidates[place]


def _measured(kind: str, candidates: Any, start: Any, seconds: Callable[[Callable[[], None]], float]) -> int:
    times, refusals = {}, []
    for place, one in enumerate(candidates):
        try:
            times[place] = seconds(lambda one=one: start(one))
        except Exception as error:
            if type(error).__name__ != "OutOfResources":
                raise
            refusals.append(f"{dict(one)}: {error}")
    if not times:
        raise RuntimeError(f"no configuration of {kind} fits this card: {'; '.join(refusals)}")
    return min(times, key=lambda place: times[place])


def gpu_seconds(call: Callable[[], None]) -> float:
    """Seconds of a call on the GPU, the mean of TIMES of them after a warm-up, which compiles."""
    call()
    return events(call, TIMES) / TIMES


def events(call: Callable[[], object], times: int) -> float:
    """Seconds on the GPU that some calls take, queued one after the other."""
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    first.record()
    for _ in range(times):
        call()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / 1e3


def _recording() -> bool:
    return torch.cuda.is_current_stream_capturing()


def path() -> Path:
    """Where choices are kept."""
    folder = os.environ.get("SIGHTLINE_CACHE")
    return (Path(folder) if folder else Path.home() / ".cache" / "sightline") / "triton.json"


def _choices() -> dict[str, int]:
    global _known
    if _known is None:
        _known = _read()
    return _known


def _read() -> dict[str, int]:
    """The file's choices; none where it can not be read as such."""
    try:
        content = json.loads(path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    whole = isinstance(content, dict) and all(isinstance(one, int) for one in content.values())
    return content if whole else {}


def _keep(key: str, place: int) -> None:
    """Remember a choice, here and in the file, beside what other processes wrote; a folder that takes no file costs only time."""
    _choices()[key] = place
    try:
        path().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path().parent, delete=False, encoding="utf-8") as file:
            json.dump({**_read(), key: place}, file, indent=1, sort_keys=True)
        os.replace(file.name, path())
    except OSError:
        return
