"""One thread: these nets are too small for two, and other tests run beside them."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)
