"""Run a section of the benchmark: its cases one by one, the machine's peaks before them, all as plain data for JSON."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from types import MappingProxyType
from typing import Any

import torch

from sightline.bench import gpu, gpu_cases, gpu_nets, layers, measure, nets, ops, scaling
from sightline.bench.machine import peaks
from sightline.bench.memory import Meter
from sightline.bench.settings import Settings
from sightline.runs import environment

SCHEMA = 1


@dataclass(frozen=True)
class Section:
    """A section: what it asks, its cases, how one is measured, and whether its memory on a CPU is metered apart."""

    about: str
    cases: Callable[[], list[Any]]
    measure: Callable[[Any, Settings], dict[str, Any]]
    metered: bool = False


SECTIONS: Mapping[str, Section] = MappingProxyType(
    {
        "ops": Section("operators against the convolution of the same stage", ops.cases, measure.measure, metered=True),
        "layers": Section("whole layers against that convolution", layers.cases, measure.measure, metered=True),
        "nets": Section("whole nets against ResNet-50", nets.cases, nets.measure),
        "gpu": Section("operators on a GPU in bfloat16 at batch 256", gpu_cases.cases, gpu.measure),
        "gpu_nets": Section("whole nets on a GPU, compiled, bfloat16", gpu_nets.cases, gpu_nets.measure),
        "scaling": Section("growth of time with the number of pixels", scaling.cases, scaling.measure),
    }
)


@dataclass(frozen=True)
class Progress:
    """How far a section is: `done` of `total` cases, `name` begins now ("" at the end)."""

    done: int
    total: int
    name: str


def case_names(section: str, settings: Settings) -> list[str]:
    """Names of the cases that these settings choose.

    Raises:
        ValueError: no such section, or nothing matches `settings.only`.
    """
    return [case.name for case in _chosen(section, settings)]


def run(
    section: str,
    settings: Settings,
    report: Callable[[Progress], None] = lambda _: None,
    keep: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure a section: schema, section, settings, environment (hardware, versions, commit), and the cases, each with the machine.

    Args:
        section: a key of SECTIONS.
        settings: how.
        report: told what begins.
        keep: given all that is measured so far after every case, so that an interrupt loses one case.

    Raises:
        ValueError: no such section, or nothing matches `settings.only`.
    """
    cases = _chosen(section, settings)
    report(Progress(0, len(cases), "peaks of the machine"))
    surroundings = environment(settings.device)
    machine = peaks(settings.device).as_dict()
    measured = {
        "schema": SCHEMA,
        "section": section,
        "settings": settings.as_dict(),
        "environment": surroundings,
        "cases": [],
    }
    meter = Meter(section, settings.memory and settings.device == "cpu" and SECTIONS[section].metered)
    with settled(), closing(meter):
        for index, case in enumerate(cases):
            report(Progress(index, len(cases), case.name))
            start = time.monotonic()
            found = SECTIONS[section].measure(case, settings)
            meter.fill(found)
            measured["cases"].append({"machine": machine, **found, "took": round(time.monotonic() - start, 1)})
            keep(measured)
            if settings.device.startswith("cuda"):
                torch.cuda.empty_cache()
    report(Progress(len(cases), len(cases), ""))
    return measured


@contextmanager
def settled() -> Iterator[None]:
    """What lives now is left out of garbage collection, which comes before every measurement of memory and took half the time."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _chosen(section: str, settings: Settings) -> list[Any]:
    if section not in SECTIONS:
        raise ValueError(f"there is no section {section!r}; there are: {', '.join(SECTIONS)}")
    cases = [case for case in SECTIONS[section].cases() if case.quick or not settings.quick]
    chosen = [case for case in cases if fnmatch(case.name, settings.only) and case.name not in settings.skip]
    if not chosen and not settings.skip:
        raise ValueError(
            f"no case of {section} matches {settings.only!r}; there are: {', '.join(c.name for c in cases)}"
        )
    return chosen
