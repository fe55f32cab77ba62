"""The `sightline` command: one short file a verb, each importing what it needs only when it runs."""

from sightline.cli.app import main

__all__ = ["main"]
