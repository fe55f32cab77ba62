"""Folders of the Hugging Face Hub: from the cache, else downloaded when the machine is online and allowed to.

Ours: a cached folder is used as it is, without a look at the network; to renew it, delete it from the cache. Whether the Hub can be
      reached is asked once, with a short limit: its own client repeats for half a minute.
"""

import logging
import os
from pathlib import Path

from sightline.weights.errors import WeightsError

SECONDS = 4.0
WANTED = ["config.json", "preprocessor_config.json", "model.safetensors", "pytorch_model.bin", "README.md"]
_log = logging.getLogger("sightline.weights")


def cached_hub_folder(name: str) -> Path:
    """The folder of ORG/NAME, or ORG/NAME@REVISION.

    Raises:
        WeightsError: it is not in the cache and can not be downloaded; the message says what would help.
    """
    repo, _, revision = name.partition("@")
    if repo.count("/") != 1 or not all(repo.split("/")):
        raise WeightsError(f"a repository of the Hub is named ORG/NAME or ORG/NAME@REVISION; got {name!r}")
    cached = _snapshot(repo, revision or None, local=True)
    if cached is not None:
        return cached
    _check_online(repo)
    _log.warning("downloading %s from the Hugging Face Hub", repo)
    downloaded = _snapshot(repo, revision or None, local=False)
    if downloaded is None:
        raise WeightsError(f"{repo} was downloaded and holds no weights ({', '.join(WANTED[2:4])})")
    return downloaded


def cached_timm_folder(name: str) -> Path:
    """Weights of one of timm's nets, NAME or NAME.TAG: a folder of the Hub, or a file timm downloaded before.

    Raises:
        WeightsError: timm has no such net or no weights for it, or they are neither cached nor to be had.
    """
    import timm
    import torch

    cfg = timm.get_pretrained_cfg(name) if timm.is_model(name.partition(".")[0]) else None
    if cfg is None:
        raise WeightsError(f"timm has no net {name!r}; timm.list_pretrained() lists those with weights")
    if cfg.url:
        file = Path(torch.hub.get_dir()) / "checkpoints" / str(cfg.url).rpartition("/")[2]
        if file.is_file():
            return file
    if not cfg.hf_hub_id:
        raise WeightsError(
            f"timm:{name} is not on the Hub"
            + (f"; download {cfg.url} and give the file" if cfg.url else " or anywhere else")
        )
    return cached_hub_folder(cfg.hf_hub_id)


def _snapshot(repo: str, revision: str | None, local: bool) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        path = Path(snapshot_download(repo, revision=revision, allow_patterns=WANTED, local_files_only=local))
    except LocalEntryNotFoundError as error:
        if local:
            return None
        raise WeightsError(f"{repo} can not be had from the Hugging Face Hub. {_elsewhere(repo)}") from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise WeightsError(f"{repo} can not be had from the Hugging Face Hub: {first}") from error
    return path if any((path / file).exists() for file in WANTED[2:4]) else None


def _check_online(repo: str, fault: str = "is not in the cache of the Hugging Face Hub") -> None:
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise WeightsError(f"{repo} {fault}, and HF_HUB_OFFLINE forbids the network. {_elsewhere(repo)}")
    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except Exception as error:  # of whichever client the hub's package has
        raise WeightsError(f"{repo} {fault}, and the Hub can not be reached from here. {_elsewhere(repo)}") from error


def _elsewhere(repo: str) -> str:
    return f"Where there is a network: `hf download {repo} --local-dir FOLDER`; then give FOLDER"


def upload(folder: Path, repo: str, private: bool, token: str | None, message: str) -> str:
    """Upload a folder; returns the address of the commit. Raises WeightsError when the Hub refuses or can not be reached."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    _check_online(repo, "can not be uploaded")
    try:
        api = HfApi(token=token, library_name="sightline")
        made = api.create_repo(repo, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message=message))
    except (HfHubHTTPError, OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise WeightsError(f"{repo} can not be uploaded to the Hugging Face Hub: {first}") from error
