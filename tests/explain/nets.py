"""The small nets that attend: those that have maps to look at."""

import sightline

CONVOLUTIONAL = ("resnet", "se_")
ATTENTION = [name for name in sightline.list_models("*mini*") if not name.startswith(CONVOLUTIONAL)]
