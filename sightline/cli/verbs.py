"""All verbs, in the order `sightline --help` shows them; importing one attaches it to the command."""

from sightline.cli import cost, doctor, models

__all__ = ["cost", "doctor", "models"]
