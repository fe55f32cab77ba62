"""The explorer: a page that shows where nets look, and the small server behind it. Needs the extra `web` (FastAPI, uvicorn)."""

from sightline.web.app import create_app
from sightline.web.examples import Example, examples
from sightline.web.limits import Limits
from sightline.web.nets import Net, load_nets
from sightline.web.serve import serve

__all__ = ["Example", "Limits", "Net", "create_app", "examples", "load_nets", "serve"]
