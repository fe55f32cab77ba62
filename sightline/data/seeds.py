"""Random generators that follow from what they are for, not from what ran before: resuming needs no stored state."""

import hashlib

import torch

_BITS = 63  # torch takes a signed 64-bit seed


def derive_seed(*parts: int | str) -> int:
    """One seed from several numbers and words: (0, 1) and (1, 0) differ, which a sum would not give."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - _BITS)


def generator_for(*parts: int | str) -> torch.Generator:
    """A generator on the CPU for exactly this purpose, as in generator_for(seed, "augment", epoch, step, rank)."""
    return torch.Generator().manual_seed(derive_seed(*parts))
