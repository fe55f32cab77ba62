"""A small house for all tests: six untrained nets, one picture; and pictures made here, honest and hostile."""

import io

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from sightline.web import Example, Limits, create_app, load_nets
from sightline.web.pictures import picture_of
from sightline.weights import box

MODELS = (
    "resnet_mini",
    "ccnet_resnet_mini",
    "sasa_resnet_mini",
    "san_mini_pairwise",
    "san_mini_patchwise",
    "deit_mini_distilled",
)
BASE = "http://127.0.0.1"


def encoded(kind="PNG", height=40, width=60, mode="RGB", **options):
    """A picture of noise as a file."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def nets(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:  # untrained, whatever the box holds
        patch.setattr(box, "FOLDER", tmp_path_factory.mktemp("box"))
        return load_nets(models=MODELS)


@pytest.fixture(scope="session")
def shown(nets):
    eyes = tuple({net.eye: None for net in nets.values()})
    return {"example-1": Example("Noise", picture_of(encoded(height=48, width=72), eyes, 10**6))}


@pytest.fixture
def client(nets, shown):
    with visiting(nets, shown) as client:
        yield client


def visiting(nets, shown, limits=None, **options):
    """A client that has opened the page of a server of its own."""
    client = TestClient(create_app(nets, shown, limits or Limits(), **options), base_url=BASE)
    assert client.get("/").status_code == 200
    return client
