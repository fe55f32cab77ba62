"""One thread a worker: the suite runs as many workers as there are cores, and threads that fight over cores cost most of the time."""

import torch

torch.set_num_threads(1)
