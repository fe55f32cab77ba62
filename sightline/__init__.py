"""sightline: attention for image recognition. Eight systems, each exact, fast, trainable, comparable and visible.

The package itself imports nothing heavy; names below are fetched on first use. Its nets join timm's registry as soon as timm is
imported, before or after sightline, so `timm.create_model("sasa_resnet_mini")` works too.
"""

import importlib
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "create_model": "sightline.weights",
    "from_pretrained": "sightline.weights",
    "load_weights": "sightline.weights",
    "push_to_hub": "sightline.weights",
    "save_pretrained": "sightline.weights",
    "list_models": "sightline.backbones",
    "replace_convs": "sightline.backbones.dropins",
    "insert_blocks": "sightline.backbones.dropins",
    "capture": "sightline.explain",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sightline' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


class _RegisterWithTimm(MetaPathFinder):
    """Import `sightline.backbones`, which registers the nets, right after timm's own import."""

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != "timm":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_then_register(module: ModuleType) -> None:
                execute(module)
                importlib.import_module("sightline.backbones")

            spec.loader.exec_module = execute_then_register  # type: ignore[method-assign]
        return spec


if "timm" in sys.modules:
    importlib.import_module("sightline.backbones")
else:
    sys.meta_path.insert(0, _RegisterWithTimm())
