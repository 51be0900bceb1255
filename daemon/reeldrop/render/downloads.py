"""Download a model's files from the hub: only those needed, all of one commit, resumably.

Files go into the hub's own cache, where diffusers finds them. The commit of the first download is
noted, and used until somebody asks for the newest. Imports no torch.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import huggingface_hub as hub
from huggingface_hub import constants
from huggingface_hub.file_download import are_symlinks_supported, http_get
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils.tqdm import tqdm

from reeldrop.base.errors import ConfigError, Mistake, Unavailable
from reeldrop.prompts.wording import did_you_mean
from reeldrop.render import checkpoint, hub_cache, pins, room
from reeldrop.render.hub_errors import as_ours
from reeldrop.render.repository import Wanted, pinned

_SUFFIX = ".reeldrop"
"""Ends the names of incomplete files in the hub's cache."""

Tell = Callable[[int, int], None]
"""Called with the bytes downloaded so far, and all bytes."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """The needed files of a commit.

    sizes: in bytes, by name
    large: the SHA-256 of the content of large files, by name
    blobs: the folder of the cache that holds the content of files by their hashes
    """

    commit: str
    sizes: dict[str, int]
    large: dict[str, str]
    blobs: Path

    @property
    def total(self) -> int:
        return sum(self.sizes.values())


def fetch(
    wanted: Wanted,
    tell: Tell | None = None,
    *,
    newest: bool = False,
    check: Callable[[Any], None] = lambda _index: None,
    beside: Iterable[tuple[Wanted, str]] = (),
) -> Path:
    """Return the folder of a model; download its missing files first.

    With `newest`, the noted commit is replaced by the newest one. `check` is called with the
    content of model_index.json before anything else is downloaded, and may raise. `beside` are
    files of other repositories, for which there has to be room, too.

    Raises:
        ConfigError: the profile's repository, revision or weights do not exist, or access to the
            repository is denied.
        Unavailable: the hub does not answer, the download broke off, or the disk is too full.
    """
    found = None if newest else hub_cache.complete(wanted)
    if found is not None:
        _note(wanted, found.name)
        return found
    _require_online(wanted)
    with as_ours(wanted):
        plan = _plan(wanted, newest, check)
    others = [_plan_of_file(*one, newest) for one in beside if newest or _is_missing(*one)]
    with as_ours(wanted):
        return _carry_out(wanted, plan, tell, others)


def fetch_file(
    wanted: Wanted, file: str, tell: Tell | None = None, *, newest: bool = False
) -> Path:
    """Return a single file of a repository; download it if it is not on this machine.

    Raises:
        ConfigError, Unavailable: as `fetch`.
    """
    found = None if newest else hub_cache.file_there(wanted, file)
    if found is not None:
        _note(wanted, str(hub_cache.commit_of(found)))
        return found
    _require_online(wanted)
    plan = _plan_of_file(wanted, file, newest)
    with as_ours(wanted):
        return _carry_out(wanted, plan, tell) / file


def _is_missing(wanted: Wanted, file: str) -> bool:
    return hub_cache.file_there(wanted, file) is None


def _plan_of_file(wanted: Wanted, file: str, newest: bool) -> _Plan:
    with as_ours(wanted):
        commit, files = _files(wanted, newest)
    if file not in files:
        problem = f"{wanted.location} has no file {file}"
        known = sorted(name for name in files if name.endswith(checkpoint.SAFETENSORS))
        remedy = did_you_mean(file, known) if known else "it has no safetensors at all"
        raise ConfigError(Mistake(problem, remedy, key=f"{wanted.key}.weight_name"))
    return _plan_of(wanted, commit, files, [file])


def _require_online(wanted: Wanted) -> None:
    if hub_cache.is_offline():
        problem = f"{wanted.what} ({wanted.location}) is not on this machine, or not complete"
        remedy = f"HF_HUB_OFFLINE forbids downloads: `HF_HUB_OFFLINE=0 reeldrop pull {wanted.name}`"
        raise Unavailable(Mistake(problem, remedy, key=wanted.name))


def _carry_out(wanted: Wanted, plan: _Plan, tell: Tell | None, later: Iterable[_Plan] = ()) -> Path:
    """Download the missing ones of the planned files, and return their folder.

    There has to be room for those that are planned for `later`, too.
    """
    plan.blobs.mkdir(parents=True, exist_ok=True)
    missing = _missing(plan)
    _require_room(wanted, plan, later)
    _download(wanted, plan, missing, tell or (lambda _done, _total: None))
    patterns = list(map(glob.escape, plan.sizes))
    folder = hub.snapshot_download(
        wanted.location, revision=plan.commit, allow_patterns=patterns, tqdm_class=_Silent
    )
    _note(wanted, plan.commit)
    return Path(folder)


def newest(wanted: Wanted) -> str:
    """Return the newest commit of a repository, in the profile's revision.

    Raises:
        ConfigError, Unavailable: as `fetch`.
    """
    with as_ours(wanted):
        return str(hub.HfApi().repo_info(wanted.location, revision=wanted.revision).sha)


def _files(wanted: Wanted, newest: bool) -> tuple[str, dict[str, hub.RepoFile]]:
    """Return the commit of a repository, and its files by their names."""
    # Its warnings, such as about a retry, are not needed: an error that follows tells the reason.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    api = hub.HfApi()
    revision = wanted.revision if newest else pinned(wanted)
    # This also notes the commit in the cache, so that diffusers finds the files without the hub.
    commit = api.resolve_revision(wanted.location, revision=revision).resolved
    files = {
        file.path: file
        for file in api.list_repo_tree(wanted.location, recursive=True, revision=commit)
        if isinstance(file, hub.RepoFile)
        if hasattr(file, "size")
    }
    return commit, files


def _plan(wanted: Wanted, newest: bool, check: Callable[[Any], None]) -> _Plan:
    """Return which files of a model have to be downloaded."""
    commit, files = _files(wanted, newest)
    if checkpoint.INDEX not in files:
        problem = f"{wanted.location} is no diffusers pipeline: it has no {checkpoint.INDEX}"
        remedy = "many models have a second repository for diffusers, mostly with that in its name"
        raise ConfigError(Mistake(problem, remedy, key=f"models.{wanted.name}.repository"))
    index = _index(wanted, commit)
    check(index)
    pickled = checkpoint.without_safetensors(files, index)
    if pickled:
        problem = f"{wanted.location} has no safetensors weights for {', '.join(pickled)}"
        remedy = "convert a copy with diffusers' save_pretrained, and give its folder as `path`"
        raise ConfigError(Mistake(problem, remedy, key=f"models.{wanted.name}.repository"))
    return _plan_of(wanted, commit, files, checkpoint.needed(files, index, wanted.variant))


def _index(wanted: Wanted, commit: str) -> dict[str, Any]:
    """Return the content of model_index.json; a damaged one is downloaded again."""

    def read(*, again: bool = False) -> dict[str, Any]:
        name = checkpoint.INDEX
        return hub_cache.read_index(
            hub.hf_hub_download(wanted.location, name, revision=commit, force_download=again)
        )

    try:
        return read()
    except ValueError:
        return read(again=True)


def _plan_of(
    wanted: Wanted, commit: str, files: Mapping[str, hub.RepoFile], needed: Iterable[str]
) -> _Plan:
    names = sorted(needed)
    return _Plan(
        commit,
        {name: files[name].size for name in names},
        {name: lfs.sha256 for name in names if (lfs := files[name].lfs) is not None},
        hub_cache.blobs(wanted),
    )


def _missing(plan: _Plan) -> dict[str, int]:
    """Return the missing bytes of each large file."""
    missing = {}
    for name, digest in plan.large.items():
        if not (plan.blobs / digest).exists():
            partial = _partial(plan, digest)
            there = partial.stat().st_size if partial.exists() else 0
            missing[name] = max(0, plan.sizes[name] - there)
    return missing


def _partial(plan: _Plan, digest: str) -> Path:
    return plan.blobs / f"{digest}{_SUFFIX}"


def _require_room(wanted: Wanted, plan: _Plan, later: Iterable[_Plan]) -> None:
    needed = sum(map(_takes, (plan, *later)))
    free = shutil.disk_usage(plan.blobs).free
    if needed and needed + room.SPARE_BYTES > free:
        problem = f"{wanted.name} needs {_gb(needed)} more in {room.place(free)}"
        raise Unavailable(Mistake(problem, room.REMEDY, key=wanted.name))


def _takes(plan: _Plan) -> int:
    """Return the bytes that a download will take.

    Where the hub's library can't make links to the blobs, it copies them.
    """
    missing, folder = sum(_missing(plan).values()), plan.blobs.parent / "snapshots" / plan.commit
    if missing and not are_symlinks_supported(plan.blobs.parent):
        missing += sum(plan.sizes[name] for name in plan.large if not (folder / name).exists())
    return missing


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def _download(wanted: Wanted, plan: _Plan, missing: dict[str, int], tell: Tell) -> None:
    """Download the large files, one after the other."""
    there = plan.total - sum(missing.values())
    tell(there, plan.total)

    class Bar(_Silent):
        """Counts for `tell`."""

        def update(self, count: float | None = 1) -> None:
            nonlocal there
            there += int(count or 0)
            tell(there, plan.total)

    for name in missing:
        if plan.sizes[name] <= constants.MAX_HTTP_DOWNLOAD_SIZE:  # else the hub's library does it
            _download_one(wanted, plan, name, Bar)
    _remove_left(plan)


def _remove_left(plan: _Plan) -> None:
    """Remove partial files that no download will continue, such as those of another commit."""
    for partial in plan.blobs.glob(f"*{_SUFFIX}"):
        with contextlib.suppress(OSError), open(partial, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink()


def _download_one(wanted: Wanted, plan: _Plan, name: str, bar: type[_Silent]) -> None:
    digest = plan.large[name]
    partial = _partial(plan, digest)
    with open(partial, "a+b") as file, _alone(wanted, file):
        there = file.seek(0, os.SEEK_END)
        if there > plan.sizes[name]:
            there = file.truncate(0)
        http_get(
            hub.hf_hub_url(wanted.location, name, revision=plan.commit),
            file,
            resume_size=there,
            headers=build_hf_headers(),
            expected_size=plan.sizes[name],
            displayed_filename=name,
            tqdm_class=bar,
        )
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            file.truncate(0)
            raise OSError(errno.EIO, f"{name} arrived damaged, and will be downloaded again")
        os.replace(partial, plan.blobs / digest)


@contextlib.contextmanager
def _alone(wanted: Wanted, file: IO[bytes]) -> Iterator[None]:
    """Lock a file that is being downloaded, so that no other process writes into it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        problem = f"another process is downloading {wanted.location}"
        raise Unavailable(Mistake(problem, "wait until it is done", key=wanted.name)) from None
    yield


class _Silent(tqdm):
    """A progress bar that shows nothing."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **{**settings, "disable": True})  # type: ignore[no-untyped-call]


def _note(wanted: Wanted, commit: str) -> None:
    """Note the commit of a download, unless the profile names its revision itself."""
    if wanted.pins is not None and wanted.revision is None:
        pins.note(wanted.pins, wanted.location, commit)
