"""What the machine can do at best: matrix products and copies, measured in the same run as the contenders."""

from dataclasses import asdict, dataclass

import torch

from sightline.cost.timing import interleaved


@dataclass(frozen=True)
class Machine:
    """Peaks, the best of several.

    Args:
        matmul_gflops: float32 product of two square matrices of `side`, a multiply-add counting two.
        copy_gbytes: gigabytes a second that a large copy reads and writes.
        side: of the matrices.
    """

    matmul_gflops: float
    copy_gbytes: float
    side: int

    def as_dict(self) -> dict[str, float | int]:
        """For JSON."""
        return asdict(self)


def peaks(device: str = "cpu", side: int = 2048, megabytes: int = 128, rounds: int = 5) -> Machine:
    """Measure both, interleaved."""
    a, b = torch.randn(side, side, device=device), torch.randn(side, side, device=device)
    source = torch.zeros(megabytes << 18, device=device)
    target = torch.empty_like(source)
    wait = torch.cuda.synchronize if device.startswith("cuda") else _nothing

    def multiply() -> None:
        torch.mm(a, b)
        wait()

    def copy() -> None:
        target.copy_(source)
        wait()

    samples = interleaved({"multiply": multiply, "copy": copy}, rounds)
    flops, moved = 2 * side**3, 2 * source.numel() * source.element_size()
    return Machine(flops / min(samples["multiply"]) / 1e9, moved / min(samples["copy"]) / 1e9, side)


def _nothing() -> None:
    pass
