"""How a benchmark is run."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Settings:
    """How a benchmark is run.

    Args:
        device: "cpu" or "cuda".
        rounds: samples of every contender.
        seconds: of one contender of a case in one direction, after which it sits out further rounds (three are made in any case);
            of a net more (`NET_SECONDS`).
        sample_seconds: what a sample takes at least, by repeating short calls.
        memory: measure peak memory too.
        quick: fewer and smaller cases.
        only: glob over the names of cases.
        skip: names of cases that are left out.
    """

    device: str = "cpu"
    rounds: int = 9
    seconds: float = 0.5
    sample_seconds: float = 0.03
    memory: bool = True
    quick: bool = False
    only: str = "*"
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.seconds <= 0:
            raise ValueError(f"rounds and seconds must be positive; got {self.rounds} and {self.seconds}")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
