"""A small comparison, written once, and a fresh copy of it for tests that break things."""

import shutil

import pytest

from tests.report import sample

MODELS = ["resnet_mini", "ccnet_resnet_mini", "san_mini_patchwise", "deit_mini_distilled"]
SMALL = {"tested": 40, "epochs": 4, "layers": 2, "queries": 4, "keys": 4, "shown": 3}


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    return sample.write_comparison(tmp_path_factory.mktemp("reports") / "small", MODELS, **SMALL)


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "small")
