"""The run folder: what a training leaves behind, and all that every later verb reads.

    recipe.json  env.json  log.jsonl  metrics.json  predictions.npz  cost.json  maps/  model.safetensors
    checkpoints/last.pt  checkpoints/previous.pt
    robustness.json, once `sightline evaluate --robustness` has looked at it

Every JSON file carries `"schema": 1`; a reader refuses a schema newer than its own. Every file appears whole or not at all: it is
written beside its name, flushed to the disk, and renamed. No torch here: a report is drawn from run folders without it.
"""

import errno
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

try:
    import fcntl
except ImportError:  # a system that knows no such locks
    fcntl = None

SCHEMA = 1
RECIPE = "recipe.json"
ENVIRONMENT = "env.json"
LOG = "log.jsonl"
METRICS = "metrics.json"
PREDICTIONS = "predictions.npz"
COST = "cost.json"
ROBUSTNESS = "robustness.json"
WEIGHTS = "model.safetensors"
CHECKPOINT = "checkpoints/last.pt"
PREVIOUS = "checkpoints/previous.pt"


class RunFolderError(RuntimeError):
    """A file of a run folder is missing, damaged, too new, or can not be written."""


class RunFolder:
    """One run folder; nothing is read or created until a method asks for it.

    Args:
        path: the folder; it and its parents are created by the first write.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def file(self, name: str) -> Path:
        """Path of a file of this run; a name without a suffix means its JSON ("metrics" is metrics.json)."""
        return self.path / (name if Path(name).suffix else f"{name}.json")

    def exists(self) -> bool:
        """Whether a run was begun here."""
        return self.file(RECIPE).is_file()

    def finished(self) -> bool:
        """Whether the run reached its end and was evaluated."""
        return self.file(METRICS).is_file() and self.read(METRICS).get("finished") is True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within the context no other process can hold the folder, which is created, and removed again when nothing was written.

        The lock ends with the process, however that ends; where the file system knows no locks there is none.

        Raises:
            RunFolderError: another process holds it, or it can not be created.
        """
        with _worded(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with _opened(self.path) as folder:
            if folder is not None and not _locked(folder):
                raise RunFolderError(
                    f"another process trains into {self.path}; let it end or stop it, or choose another folder"
                )
            try:
                yield
            finally:
                with suppress(OSError):
                    self.path.rmdir()  # an empty one alone

    def read(self, name: str) -> dict[str, Any]:
        """Content of one JSON file.

        Raises:
            RunFolderError: it is missing, not JSON, not an object with a schema, or of a newer schema.
        """
        path = self.file(name)
        content = _parse(_text(path), path)
        schema = content.get("schema")
        if not isinstance(schema, int) or isinstance(schema, bool):
            raise RunFolderError(f'{path} has no integer "schema"; it was not written by sightline or is damaged')
        if schema > SCHEMA:
            raise RunFolderError(
                f"{path} has schema {schema}; this sightline reads up to {SCHEMA}. Update sightline to read it"
            )
        return content

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Write one JSON file whole; "schema" is added. Not-a-number and infinity are refused, JSON has no word for them."""
        text = json.dumps({"schema": SCHEMA} | content, indent=1, allow_nan=False)
        atomic_write(self.file(name), text + "\n")

    def log(self) -> list[dict[str, Any]]:
        """The lines of log.jsonl, one an epoch; empty when there is none."""
        path = self.file(LOG)
        if not path.is_file():
            return []
        return [_parse(line, path, number) for number, line in enumerate(_text(path).splitlines(), 1) if line.strip()]

    def append_log(self, line: dict[str, Any]) -> None:
        """Add one epoch. The file is rewritten whole: it is small, and a killed process leaves no half line."""
        self.write_log([*self.log(), line])

    def write_log(self, lines: list[dict[str, Any]]) -> None:
        """Replace the log; a resumed run drops the epochs that its checkpoint has not seen."""
        with atomic_file(self.file(LOG), lasting=False) as handle:
            handle.writelines(json.dumps(line, allow_nan=False).encode() + b"\n" for line in lines)


def atomic_write(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write a file whole or not at all; text is UTF-8. Raises RunFolderError with the remedy when it can not."""
    with atomic_file(path) as handle:
        handle.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def atomic_file(
    path: str | os.PathLike[str], lasting: bool = True, keep: str | os.PathLike[str] | None = None
) -> Iterator[BinaryIO]:
    """A binary file that takes its name when the block ends well, and vanishes when it does not.

    Args:
        path: the name it takes.
        lasting: wait until it is on the disk, so that it survives a power cut; a killed process harms neither kind.
        keep: the name that an older file at `path` takes, in the same folder.

    Raises:
        RunFolderError: no space, no permission, or another fault of the file system; an older file of that name is untouched.
    """
    path = Path(path)
    with _beside(path) as beside:
        with open(beside, "wb") as handle:
            yield handle
            handle.flush()
            if lasting:
                os.fsync(handle.fileno())
        if keep is not None and path.exists():
            _rename_beside(path, Path(keep))
        os.replace(beside, path)
        if lasting:
            _flush_folder(path.parent)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Find out before long work whether its result could be written. Raises RunFolderError with the remedy."""
    path = Path(path)
    with _beside(path) as beside:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        beside.touch()


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """The name that a file has until it is whole, in a folder that is made; gone at the end of the block, whatever happens."""
    beside = path.with_name(f".{path.name}.part")
    try:
        with _worded(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield beside
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


@contextmanager
def _worded(path: Path) -> Iterator[None]:
    """A fault of the file system within the block, told with what was to be written and what to do."""
    try:
        yield
    except OSError as error:
        raise RunFolderError(f"cannot write {path}: {_remedy(error)}") from error


def _rename_beside(path: Path, keep: Path) -> None:
    """Give a file a second name, in place of what had that name; where the file system knows no links, another name."""
    linked = keep.with_name(f".{keep.name}.part")
    try:
        linked.unlink(missing_ok=True)
        os.link(path, linked)
        os.replace(linked, keep)
    except OSError:
        os.replace(path, keep)


def _flush_folder(folder: Path) -> None:
    """Make a rename last through a power cut."""
    with _opened(folder) as descriptor, suppress(OSError):
        if descriptor is not None:
            os.fsync(descriptor)


@contextmanager
def _opened(folder: Path) -> Iterator[int | None]:
    """The descriptor of a folder; None on systems that can not open folders."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Lock a folder; False when another process has done so."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # this file system knows no locks
            pass
    return True


def _remedy(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.strerror}; what was written before is intact. Free some space, then resume the run"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{error.strerror}; choose a folder that you may write to"
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        return f"{error.strerror}; a file stands where a folder is needed, or a folder where the file belongs"
    return error.strerror or str(error)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RunFolderError(
            f"{path} is missing; is {path.parent} a run folder, and did the run get that far?"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{path} can not be read: {error}") from error


def _parse(text: str, path: Path, line: int | None = None) -> dict[str, Any]:
    where = f"{path}, line {line}" if line else str(path)
    try:
        content = json.loads(text)
    except ValueError as error:
        raise RunFolderError(f"{where} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise RunFolderError(f"{where} is damaged: a JSON object was expected, not {type(content).__name__}")
    return content


def environment(device: str = "cpu") -> dict[str, Any]:
    """What a run ran on: versions, machine, date; no paths, no names of users or hosts.

    Args:
        device: the device of the run, "cpu" or "cuda..."; a CUDA device is recorded by its product name.
    """
    import torch

    return {
        "sightline": _version("sightline"),
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": _version("torchvision"),
        "timm": _version("timm"),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _processor(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The checkout's commit, "-dirty" when tracked files differ from it; None for an installed package."""
    here = Path(__file__)
    git = ["git", "-C", str(here.parent)]
    try:
        # An installed copy may lie inside somebody else's checkout: only a tracked file makes the commit ours.
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], check=True, capture_output=True, timeout=10)
        describe = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(describe, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
