"""The report: run folders in, one self-contained HTML page out. No torch, no network; what a folder lacks, the page says.

    build_report("runs/demo")                                   a comparison folder (compare.json) or a folder of run folders
    build_report_from_runs(["runs/vit_mini", "runs/mine"])      any run folders side by side

`wanted_pictures` and `save_pictures` let the maker of a comparison leave the test pictures that the page shows as examples.
"""

from sightline.report.build import build_report, build_report_from_runs
from sightline.report.pictures import save_pictures, wanted_pictures

__all__ = ["build_report", "build_report_from_runs", "save_pictures", "wanted_pictures"]
