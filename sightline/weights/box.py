"""Weights that come with sightline: `box/NET.NAME.safetensors` inside the package, known as NAME to NET."""

from pathlib import Path

FOLDER = Path(__file__).parent / "box"


def boxed(model: str | None) -> dict[str, Path]:
    """Names and files of the weights that come with sightline for a net; empty when there are none."""
    if model is None or not model.isidentifier():  # a path, an address
        return {}
    files = sorted(FOLDER.glob(f"{model}.*.safetensors"))
    return {file.name.removeprefix(f"{model}.").removesuffix(".safetensors"): file for file in files}
