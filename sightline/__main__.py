"""`python -m sightline`, for launchers of several processes: `torchrun --nproc-per-node 4 -m sightline train ...`."""

from sightline.cli import main

if __name__ == "__main__":
    main()
