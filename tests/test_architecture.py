"""The layers of the design: imports point downwards only. Read from the source, so lazy imports count too."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "sightline"
ALLOWED = {  # room: the rooms it may import
    "ops": set(),
    "layers": {"ops"},
    "backbones": {"layers", "ops"},
    "data": set(),
    "runs": set(),
    "explain": {"backbones", "layers", "ops", "runs"},
    "cost": {"backbones", "layers", "ops"},
    "weights": {"backbones", "layers", "ops", "runs"},
    "bench": {"backbones", "cost", "layers", "ops", "runs"},
    "recipes": set(),
    "train": {"backbones", "layers", "ops", "data", "recipes", "runs", "evaluate", "weights"},
    "evaluate": {"backbones", "layers", "ops", "data", "runs", "weights"},
    "compare": {"backbones", "cost", "data", "evaluate", "explain", "recipes", "report", "runs", "train", "weights"},
    "report": {"recipes", "runs"},
    "web": {"backbones", "data", "explain", "ops", "report", "runs", "weights"},
    "cli": {
        "backbones",
        "bench",
        "compare",
        "cost",
        "data",
        "evaluate",
        "explain",
        "ops",
        "recipes",
        "report",
        "runs",
        "train",
        "web",
        "weights",
    },
}
ALLOWED["__main__"] = {"cli"}
ALONE = {"ops": {"torch"}, "layers": {"torch"}, "report": {"jinja2", "markupsafe", "numpy", "PIL"}, "runs": {"torch"}}
STANDARD = set(__import__("sys").stdlib_module_names)


def imports(path: Path) -> set[str]:
    """Full names of the modules a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms() -> dict[str, list[Path]]:
    """Files of every room: a folder, or a module beside the folders."""
    found: dict[str, list[Path]] = {}
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room != "__init__":
            found.setdefault(room, []).append(path)
    return found


def test_every_room_is_in_the_plan():
    assert set(rooms()) == set(ALLOWED)


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_point_downwards(room):
    for path in rooms()[room]:
        for name in imports(path):
            first, _, rest = name.partition(".")
            if first == "sightline" and rest and rest != "__version__":
                target = rest.split(".")[0]
                assert target == room or target in ALLOWED[room], f"{path.name} of {room} imports {name}"


@pytest.mark.parametrize("room", ALONE)
def test_light_rooms_need_little(room):
    for path in rooms()[room]:
        outside = {name.split(".")[0] for name in imports(path)} - STANDARD - {"sightline"}
        if room == "ops" and path.name == "kernels.py":  # imported when a Triton kernel is first launched
            outside -= {"triton"}
        assert outside <= ALONE[room], f"{path} needs {outside - ALONE[room]}"


def test_no_assert_outside_tests():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not isinstance(node, ast.Assert), f"{path}:{getattr(node, 'lineno', 0)} asserts; raise instead"
