"""Every python block of the README and the docs runs on its own; every shell line names a verb that exists."""

import json
import re
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [path for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md") if path.exists()]
PAGES += sorted((ROOT / "docs").rglob("*.md"))


def blocks(language: str) -> list[tuple[str, str]]:
    """(page and line, code) of every fenced block of a language."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(rf"^```{language}\n(.*?)^```", text, re.M | re.S):
            line = text[: match.start()].count("\n") + 1
            found.append((f"{page.relative_to(ROOT)}:{line}", match.group(1)))
    return found


@pytest.mark.parametrize(("place", "code"), [pytest.param(*block, id=block[0]) for block in blocks("python")])
def test_python_block_runs(place, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, place, "exec"), {"__name__": place})


@pytest.mark.parametrize(
    ("place", "code"), [pytest.param(*block, id=block[0]) for block in blocks("(?:bash|sh|console)")]
)
def test_shell_block_names_real_verbs(place, code):
    from typer.main import get_command

    from sightline.cli import verbs  # noqa: F401 (attaches the verbs)
    from sightline.cli.app import app

    known = get_command(app).commands  # type: ignore[attr-defined]
    makefile = (ROOT / "Makefile").read_text()
    for line in code.splitlines():
        verb = re.match(r"\s*\$?\s*(?:\.venv/bin/)?sightline ([a-z]+)(.*)", line)
        if verb:
            assert verb[1] in known, f"{place}: no verb {verb[1]!r}"
            options = {name for param in known[verb[1]].params for name in (*param.opts, *param.secondary_opts)}
            for option in re.findall(r"\s(--[a-z-]+)", verb[2]):
                assert option in options | {"--help"}, f"{place}: sightline {verb[1]} has no {option}"
        target = re.match(r"\s*\$?\s*make ([a-z-]+)", line)
        if target:
            assert re.search(rf"^{target[1]}:", makefile, re.M), f"{place}: no make target {target[1]!r}"


def test_relative_links_lead_somewhere():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name} links to {link}, which is not there"


def test_command_is_installed():
    command = shutil.which("sightline", path=str(Path(sys.executable).parent))
    assert command, "the package is not installed beside this Python"
    answer = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert answer.stdout.startswith("sightline ")


def test_readme_shows_the_committed_numbers():
    spec = spec_from_file_location("docs_make", ROOT / "docs" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    make = module_from_spec(spec)
    spec.loader.exec_module(make)
    shown = make.table(json.loads(make.RESULTS.read_text()))
    assert shown in (ROOT / "README.md").read_text()
