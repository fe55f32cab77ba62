"""One thread a worker: there are as many workers as cores, and threads that fight over cores cost most of the time."""

import torch

torch.set_num_threads(1)
