"""Downloads from a hub on loopback: what is fetched, resumed, refused and kept; and a kill."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub as hub
import pytest
from harness.hub_server import Hub, served
from harness.processes import run, start
from harness.zygote import REELDROP
from huggingface_hub import _tree_cache, constants
from huggingface_hub.utils import _pagination
from reeldrop.base.errors import ConfigError, Mistake, Unavailable
from reeldrop.render import downloads, hub_cache, pins, pipeline
from reeldrop.render.repository import Repository
from reeldrop.render.source import ModelSource

NAME = "somebody/model"
LARGE_BYTES = 24 << 20
"""More than two of the pieces of 10 MiB that huggingface_hub writes at once."""

INDEX = {"_class_name": "X", "vae": ["diffusers", "V"], "text_encoder": ["transformers", "T"]}


class Place(NamedTuple):
    """A hub, its one repository's folder, and a cache to download into."""

    hub: Hub
    source: Path
    cache: Path
    spool: Path

    @property
    def wanted(self) -> Repository:
        return Repository("m", NAME, pins=self.spool / pins.FILE_NAME)

    @property
    def blobs(self) -> Path:
        return self.cache / "models--somebody--model" / "blobs"

    def partial(self) -> list[Path]:
        """Return the incomplete files."""
        return list(self.blobs.glob("*.reeldrop"))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one large file, and files that are not needed."""
    folder = tmp_path_factory.mktemp("hub") / "model"
    for name, data in {
        "model_index.json": json.dumps(INDEX).encode(),
        "vae/config.json": b"{}",
        "vae/diffusion_pytorch_model.safetensors": os.urandom(1 << 20) * (LARGE_BYTES >> 20),
        "vae/diffusion_pytorch_model.bin": bytes(1 << 20),
        "text_encoder/config.json": b"{}",
        "text_encoder/model.safetensors": os.urandom(1 << 13),
        "sample.png": bytes(1 << 13),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def place(large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A hub for this process, and an empty cache."""
    with served() as hub:
        hub.add(NAME, large)
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        (tmp_path / "spool").mkdir()
        yield Place(hub, large, tmp_path / "cache", tmp_path / "spool")


def mistake(wanted: Repository, kind: type[ConfigError | Unavailable]) -> Mistake:
    """Return the mistake with which a download is refused."""
    with pytest.raises(kind) as caught:
        downloads.fetch(wanted)
    (found,) = caught.value.mistakes
    return found


def test_only_what_is_needed_is_downloaded(place: Place) -> None:
    """Existing files are not downloaded again, and the hub's bars are silent."""
    told: list[tuple[int, int]] = []
    assert hub_cache.complete(place.wanted) is None
    folder = downloads.fetch(place.wanted, lambda done, total: told.append((done, total)))
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {
        "model_index.json",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
    } == names
    for name in names:
        assert (place.source / name).read_bytes() == (folder / name).read_bytes()
    done, total = zip(*told, strict=True)
    assert sorted(done) == list(done)
    assert (total[0], 1) == (done[-1], len(set(total)))
    assert folder == hub_cache.complete(place.wanted)
    place.hub.asked.clear()
    assert place.wanted.pins is not None
    place.wanted.pins.unlink()
    assert folder == downloads.fetch(place.wanted)
    assert [] == place.hub.asked
    assert {NAME: "a" * 40} == pins.read(place.wanted.pins)  # also of what was there before
    (folder / "vae" / "config.json").unlink()
    assert hub_cache.complete(place.wanted) is None
    place.hub.ranges.clear()
    assert folder == downloads.fetch(place.wanted)
    assert (folder / "vae" / "config.json").exists()
    assert [] == place.hub.ranges


def test_a_damaged_list_of_parts_is_downloaded_again(place: Place) -> None:
    """As after a power cut; until then, the model counts as missing."""
    index = downloads.fetch(place.wanted) / "model_index.json"
    for damage in ("", "[]"):
        index.resolve().write_text(damage)
        assert hub_cache.complete(place.wanted) is None
        assert hub_cache.seems_there(place.wanted) is None
        downloads.fetch(place.wanted)
        assert INDEX == json.loads(index.read_text())


def test_a_connection_that_breaks_is_taken_up_where_it_broke(place: Place) -> None:
    """Bytes that arrived are not sent again, in this process or the next."""
    place.hub.cut_after = 15 << 20
    folder = downloads.fetch(place.wanted)
    assert [None, f"bytes={10 << 20}-"] == place.hub.ranges[-2:]
    name = "vae/diffusion_pytorch_model.safetensors"
    assert (place.source / name).read_bytes() == (folder / name).read_bytes()
    assert [] == place.partial()


def test_a_server_that_dies(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It raises Unavailable, and the next try continues."""
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _seconds: None)
    place.hub.cut_after = 5  # less than huggingface_hub writes at once: no progress
    found = mistake(place.wanted, Unavailable)
    assert "could not be downloaded" in found.problem
    assert "goes on where this one ended" in found.remedy
    assert hub_cache.complete(place.wanted) is None
    assert hub_cache.seems_there(place.wanted) is None
    place.hub.cut_after = None
    content = (place.source / "vae/diffusion_pytorch_model.safetensors").read_bytes()
    name = f"{hashlib.sha256(content).hexdigest()}.reeldrop"
    (place.blobs / name).write_bytes(content[:9_000_000])
    told: list[tuple[int, int]] = []
    downloads.fetch(place.wanted, lambda done, total: told.append((done, total)))
    assert 9_000_000 < told[0][0] < 9_100_000
    assert told[-1][0] == told[-1][1]
    assert "bytes=9000000-" in place.hub.ranges
    place.hub.close()
    other = Repository("other", "somebody/other")
    assert "could not be downloaded" in mistake(other, Unavailable).problem
    assert downloads.fetch(place.wanted)  # whole: nobody is asked


def test_what_is_left_and_too_long_is_downloaded_anew(place: Place) -> None:
    """A partial file that is too long can't be its beginning."""
    content = (place.source / "text_encoder/model.safetensors").read_bytes()
    place.blobs.mkdir(parents=True)
    left = place.blobs / f"{hashlib.sha256(content).hexdigest()}.reeldrop"
    left.write_bytes(content + b"?")
    folder = downloads.fetch(place.wanted)
    assert content == (folder / "text_encoder/model.safetensors").read_bytes()


def test_what_arrives_damaged_is_not_kept(place: Place) -> None:
    """The hash is compared, and the next try begins anew."""
    place.hub.damaged = True
    assert "arrived damaged" in mistake(place.wanted, Unavailable).problem
    assert hub_cache.complete(place.wanted) is None
    place.hub.damaged = False
    folder = downloads.fetch(place.wanted)
    assert place.source.joinpath("vae/config.json").read_bytes() == b"{}"
    assert folder == hub_cache.complete(place.wanted)


def test_a_disk_that_is_too_small(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is downloaded; the message has needed and free space, and the folder."""
    usage = shutil.disk_usage("/")._replace(free=100 << 20)
    monkeypatch.setattr("reeldrop.render.downloads.shutil.disk_usage", lambda _path: usage)
    found = mistake(place.wanted, Unavailable)
    assert f"needs 0.0 GB more in {place.cache}, where 0.1 GB are free" in found.problem
    assert "HF_HOME" in found.remedy
    assert [] == place.hub.ranges


def test_a_disk_without_links_needs_room_for_copies(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, the hub's library copies the files, so that each is on the disk twice."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", True)
    free = (256 << 20) + LARGE_BYTES * 3 // 2
    usage = shutil.disk_usage("/")._replace(free=free)
    with monkeypatch.context() as patch:
        patch.setattr("reeldrop.render.downloads.shutil.disk_usage", lambda _path: usage)
        found = mistake(place.wanted, Unavailable)
        assert "needs 0.1 GB more" in found.problem
        assert [] == place.hub.ranges
    folder = downloads.fetch(place.wanted)
    file = folder / "vae/diffusion_pytorch_model.safetensors"
    assert file.is_file()
    assert not file.is_symlink()
    assert folder == hub_cache.complete(place.wanted)


def test_a_disk_that_fills_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's error is raised, because callers handle disk errors."""

    def full(*_arguments: object, **_settings: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(downloads, "http_get", full)
    with pytest.raises(OSError, match="No space left"):
        downloads.fetch(place.wanted)


def test_what_may_not_be_read(place: Place) -> None:
    """Wrong names, conditions and revisions have different messages and remedies."""
    key = "models.m.repository"
    cases = (
        ("no/such", None, "there is no repository no/such on the hub", "HF_TOKEN"),
        ("some/gated", (403, "GatedRepo"), "only for those who accept", "/some/gated, and make a"),
        ("some/private", (404, "RepoNotFound"), "or it is private", "hf auth login"),
    )
    for name, status, problem, remedy in cases:
        if status:
            place.hub.statuses[name] = status
        found = mistake(Repository("m", name), ConfigError)
        assert (key, True, True) == (found.key, problem in found.problem, remedy in found.remedy)
    found = mistake(Repository("m", NAME, revision="v9"), ConfigError)
    assert "models.m.revision" == found.key
    assert "has no revision v9" in found.problem
    place.hub.statuses["some/broken"] = (500, "")
    assert "could not be downloaded" in mistake(Repository("m", "some/broken"), Unavailable).problem


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"_class_name": "I2VGenXLPipeline"}, "I2VGenXLPipeline can't be used"),
        ({"_class_name": "CosmosTextToWorldPipeline"}, "cosmos_guardrail"),
        ({"_class_name": "LTXPipeline"}, "LTXPipeline does not support windows"),
        pytest.param(
            {"tokenizer": ["transformers", "Qwen2VLProcessor"]},
            "Qwen2VLProcessor needs torchvision",
            marks=pytest.mark.skipif(bool(find_spec("torchvision")), reason="it is installed"),
        ),
    ],
)
def test_what_cannot_be_used_is_not_downloaded(
    changed: dict[str, Any], reason: str, place: Place, tmp_path: Path
) -> None:
    """Who lacks a package, or names a model that makes no videos, learns it before gigabytes."""
    shutil.copytree(place.source, tmp_path / "other")
    (tmp_path / "other" / "model_index.json").write_text(json.dumps({**INDEX, **changed}))
    place.hub.add("some/other", tmp_path / "other")
    with pytest.raises(ConfigError) as caught:
        pipeline.load(ModelSource("m", "some/other", window="auto"))
    assert reason in str(caught.value)
    assert sum(path.stat().st_size for path in place.cache.rglob("*") if path.is_file()) < 1 << 16


def test_what_is_no_pipeline(place: Place, tmp_path: Path) -> None:
    """A repository without model_index.json, or with pickles only, is refused."""
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text("{}")
    place.hub.add("some/bare", tmp_path / "bare")
    assert "has no model_index.json" in mistake(Repository("m", "some/bare"), ConfigError).problem
    shutil.copytree(place.source, tmp_path / "old")
    for path in (tmp_path / "old").rglob("*.safetensors"):
        path.rename(path.with_suffix(".bin"))
    place.hub.add("some/old", tmp_path / "old")
    found = mistake(Repository("m", "some/old"), ConfigError)
    assert "no safetensors weights for vae, text_encoder" in found.problem
    assert "give its folder as `path`" in found.remedy


def test_the_first_commit_stays(place: Place) -> None:
    """Until the newest is requested; a revision in the profile is not noted."""
    first, second = "a" * 40, "b" * 40
    downloads.fetch(Repository("m", NAME, revision=first, pins=place.wanted.pins))
    assert {} == pins.read(place.wanted.pins)
    downloads.fetch(place.wanted)
    assert {NAME: first} == pins.read(place.wanted.pins)
    place.hub.commits[NAME] = second
    assert first == downloads.fetch(place.wanted).name
    assert second == downloads.newest(place.wanted)
    assert second == downloads.fetch(place.wanted, newest=True).name
    assert {NAME: second} == pins.read(place.wanted.pins)
    assert 1 == len([r for r in place.hub.ranges if r is None]) // 2  # each content once


def test_a_commit_that_is_gone(place: Place) -> None:
    """If the repository was made anew, the message has the command for the newest commit."""
    assert place.wanted.pins is not None
    pins.note(place.wanted.pins, NAME, "c" * 40)
    found = mistake(place.wanted, ConfigError)
    assert "models.m.repository" == found.key
    assert f"no longer has the commit {'c' * 40}" in found.problem
    assert "`reeldrop pull --newest m`" in found.remedy


def test_what_another_commit_left_is_removed(place: Place) -> None:
    """Partial files of another commit are removed, unless a process is working on them."""
    place.blobs.mkdir(parents=True)
    left, held = place.blobs / "left.reeldrop", place.blobs / "held.reeldrop"
    left.touch()
    held.touch()
    with held.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        downloads.fetch(place.wanted)
    assert [held] == place.partial()


def test_two_downloads_at_once(place: Place) -> None:
    """The second one is refused, and does not write into the same file."""
    place.hub.cut_after = 5
    with contextlib.suppress(Unavailable), pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.file_download.time.sleep", lambda _seconds: None)
        downloads.fetch(place.wanted)
    (partial,) = place.partial()
    with partial.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = mistake(place.wanted, Unavailable)
    assert "another process is downloading somebody/model" in found.problem


def test_the_token_is_sent_to_the_hub(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_TOKEN gives access to private repositories."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    downloads.fetch(place.wanted)
    assert "Bearer hf_secret" in place.hub.tokens


def test_a_kill_in_the_middle(place: Place, tmp_path: Path) -> None:
    """After kill -9, the next process asks only for the rest."""
    place.hub.holds_after = 12 << 20
    config = tmp_path / "config.yaml"
    config.write_text(f"spool: {place.spool}\nmodels: {{m: {{repository: {NAME}}}}}\n")
    command = [*REELDROP, "pull", "m", "--config", str(config)]
    environment = {
        **os.environ,
        "HF_ENDPOINT": place.hub.url,
        "HF_HUB_CACHE": str(place.cache),
        "HF_HUB_OFFLINE": "0",
    }
    with open(os.devnull, "w") as nothing:
        killed = start(command, stdout=nothing, env=environment)
    try:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size >= 10 << 20 for path in place.partial()):
            assert killed.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    place.hub.holds_after = None
    ended = run(command, env=environment)
    assert (0, "") == (ended.returncode, ended.stderr)
    assert f"bytes={10 << 20}-" in place.hub.ranges
    folder = Path(ended.stdout.strip())
    name = "vae/diffusion_pytorch_model.safetensors"
    assert (place.source / name).read_bytes() == (folder / name).read_bytes()
    assert {NAME: "a" * 40} == pins.read(place.wanted.pins)


def test_a_pipeline_is_loaded_from_what_was_downloaded(
    place: Place, wan_pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Online, and then offline; also by diffusers itself, by the repository's name."""
    place.hub.add("some/wan", wan_pipeline)
    source = ModelSource("wan", "some/wan", pins=place.spool / pins.FILE_NAME)
    told: list[tuple[int, int]] = []
    loaded = pipeline.load(source, lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1]
    assert ("a" * 40, "WanPipeline") == (loaded.revision, type(loaded.pipe).__name__)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    place.hub.asked.clear()
    assert "a" * 40 == pipeline.load(source).revision
    # An earlier version's cache has no list of files.
    shutil.rmtree(place.cache / "models--some--wan" / "trees")
    _tree_cache._IN_MEMORY_TREE_CACHE.clear()
    assert hub_cache.complete(source) is None
    assert "a" * 40 == pipeline.load(source).revision
    assert [] == place.hub.asked
    place.hub.close()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    at_once = functools.partial(_pagination.http_backoff, base_wait_time=0.01, max_wait_time=0.01)
    monkeypatch.setattr(_pagination, "http_backoff", at_once)  # it would wait for 23 s in all
    assert "a" * 40 == pipeline.load(source).revision  # no network is no reason not to start


def test_diffusers_downloads_nothing_itself(
    place: Place, wan_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither without free space, nor a newer commit than the kept one."""
    repository = shutil.copytree(wan_pipeline, tmp_path / "wan")
    place.hub.add("some/wan", repository)
    source = ModelSource("wan", "some/wan", pins=place.spool / pins.FILE_NAME)
    folder = downloads.fetch(source)
    cache = place.cache / "models--some--wan"
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.resolve().unlink()
    weights.unlink()
    place.hub.ranges.clear()
    with monkeypatch.context() as patch:
        usage = shutil.disk_usage("/")._replace(free=100 << 20)
        patch.setattr("reeldrop.render.downloads.shutil.disk_usage", lambda _path: usage)
        with pytest.raises(Unavailable, match=r"where 0\.1 GB are free"):
            pipeline.load(source)
    assert [] == place.hub.ranges
    downloads.fetch(source)
    (repository / "README.md").write_text("newer")
    place.hub.commits["some/wan"] = "b" * 40
    downloads.fetch(ModelSource("other", "some/wan"), newest=True)
    assert "b" * 40 == (cache / "refs" / "main").read_text()
    shutil.rmtree(cache / "trees")
    _tree_cache._IN_MEMORY_TREE_CACHE.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "a" * 40 == pipeline.load(source).revision


def test_half_a_download_is_not_loaded(
    place: Place, wan_pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the list of its files, too; the message has the command that goes on with it."""
    place.hub.add("some/wan", wan_pipeline)
    source = ModelSource("wan", "some/wan", pins=place.spool / pins.FILE_NAME)
    hub.snapshot_download("some/wan", ignore_patterns=["vae/*.safetensors"])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for _ in range(2):
        assert hub_cache.complete(source) is None
        assert hub_cache.seems_there(source) is None
        with pytest.raises(Unavailable, match=r"`reeldrop pull wan`"):
            pipeline.load(source)
        shutil.rmtree(place.cache / "models--some--wan" / "trees", ignore_errors=True)
        _tree_cache._IN_MEMORY_TREE_CACHE.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    place.hub.ranges.clear()
    downloads.fetch(source)
    assert 1 == len(place.hub.ranges)  # what was there is not sent again


def test_offline_without_the_files(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the command that downloads the model."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(Unavailable, match=r"`reeldrop pull m`"):
        pipeline.load(ModelSource("m", NAME))
    assert "HF_HUB_OFFLINE=0 reeldrop pull m" in mistake(place.wanted, Unavailable).remedy
