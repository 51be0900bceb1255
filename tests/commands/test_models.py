"""`reeldrop models` and `pull`: what is listed, what fits, what is downloaded, what is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from harness.hub_server import Hub, served
from harness.site import Site
from huggingface_hub import constants
from reeldrop.base.errors import ConfigError, Unavailable, WrongUsage
from reeldrop.commands import check, cli, fits, models, progress, pull
from reeldrop.commands.fits import Machine
from reeldrop.config import builtin, config, profiles
from reeldrop.config.config import Config
from reeldrop.render import devices, downloads, hub_cache, lora_files, repository
from reeldrop.store.status import State, Status
from reeldrop.translation import source
from typer.testing import CliRunner

GB = 10**9
ZH_EN = Path(__file__).parents[1] / "translation" / "zh_en"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub for this process, and an empty cache."""
    with served() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield hub


def settings(folder: Path, text: str) -> Config:
    """Return the settings of a config.yaml in a folder."""
    return config.parse(text, folder / "config.yaml")


def test_every_model_is_listed(tmp_path: Path, hub: Hub) -> None:
    """config.yaml's first, with what is offered, the default, and what is downloaded."""
    text = "model: mine\nmodels: {mine: {path: mine, defaults: {num_frames: 9}}, mochi: {}}\n"
    found = {
        m.name: m for m in models.listed(settings(tmp_path, text), "mine", Machine(None, 64 * GB))
    }
    assert ["ms-1.7b", "bundled", "mine", "mochi"] == list(found)[:4]
    assert set(builtin.profiles()) <= set(found)
    assert [True, True, True, True, False] == [m.offered for m in found.values()][:5]
    assert ["mine"] == [m.name for m in found.values() if m.is_default]
    assert {"bundled", "mine"} == {m.name for m in found.values() if m.downloaded}
    wan = found["wan2.1-1.3b"]
    assert "832x480, 81 frames at 16 fps" == wan.video
    assert ("wan2.1-1.3b", "", "no, 28.9 GB", "Apache-2.0") == (
        *wan.cells[:2],
        wan.cells[3],
        wan.cells[-1],
    )
    assert ("mine", "default", "unknown", "yes", "9 frames", "") == found["mine"].cells
    assert "no, size not known" == found["kandinsky-5-lite"].cells[3]
    from_picture = {name for name, model in found.items() if model.needs_picture}
    assert {"wan2.1-14b-i2v", "ltx-2-i2v", "stable-video-diffusion-xt"} <= from_picture
    assert not {"mine", "wan2.1-14b", "ltx-2"} & from_picture
    video = found["stable-video-diffusion-xt"].video
    assert "1024x576, 25 frames at 7 fps, from a picture" == video
    assert {len(models.HEADINGS)} == {len(m.cells) for m in found.values()}
    assert [] == hub.asked


def test_the_list_as_json(site: Site) -> None:
    """One object for each model."""
    listed = json.loads(site.command("models", "--json").stdout)
    fields = {field.name for field in dataclasses.fields(models.Listed)}
    assert [fields] * len(listed) == [set(model) for model in listed]
    assert {"tiny", "bundled", "wan2.2-a14b"} <= {model["name"] for model in listed}


def test_pull(
    tmp_path: Path, hub: Hub, wan_pipeline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder is printed; a newer commit is noted, and downloaded with --newest."""
    hub.add("some/wan", wan_pipeline)
    found = settings(tmp_path, "models: {wan: {repository: some/wan}}")
    assert models.is_to_come("wan", found)
    pull.pull_model(found, "wan", newest=False)
    first = capsys.readouterr()
    assert "a" * 40 == Path(first.out.strip()).name
    assert "" == first.err
    assert not models.is_to_come("wan", found)
    hub.commits["some/wan"] = "b" * 40
    pull.pull_model(found, "wan", newest=False)
    second = capsys.readouterr()
    assert first.out == second.out
    assert f"some/wan has a newer commit, {'b' * 40}; `reeldrop pull --newest" in second.err
    pull.pull_model(found, "wan", newest=True)
    assert "b" * 40 == Path(capsys.readouterr().out.strip()).name
    pull.pull_model(found, "wan", newest=False)
    assert ("b" * 40, "") == (
        repository.pinned(models.repository("wan", found.models["wan"], found)),  # type: ignore[arg-type]
        capsys.readouterr().err,
    )


def test_pull_says_where_the_mistake_is(tmp_path: Path, hub: Hub) -> None:
    """In which line of config.yaml, for a model and a translator."""
    hub.add("some/wan", tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(
        "translate:\n  zh: none/opus\nmodels:\n  lost:\n    repository: none/none\n"
        "  old:\n    repository: some/wan\n    revision: v9\n"
    )
    for name, line in (("translate.zh", 2), ("lost", 5), ("old", 8)):
        ended = CliRunner().invoke(cli.app, ["pull", name, "--config", str(path)])
        assert isinstance(ended.exception, ConfigError), name
        assert f"{path}, line {line}, column" in str(ended.exception)


def test_pull_gets_translators_too(
    tmp_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also with the weights that most have, and a newer commit if it is asked for."""
    shutil.copytree(ZH_EN, tmp_path / "zh_en")
    (tmp_path / "zh_en" / "model.safetensors").rename(tmp_path / "zh_en" / "pytorch_model.bin")
    hub.add("some/opus", tmp_path / "zh_en")
    found = settings(tmp_path, "translate: {zh: some/opus}\nmodels: {bundled: {}}")
    for commit, newest in (("a", False), ("a", False), ("b", True), ("b", False)):
        pull.pull_model(found, "translate.zh", newest=newest)
        folder = Path(capsys.readouterr().out.strip())
        assert commit * 40 == folder.name
        assert {*source.NEEDED, *source.USEFUL, source.WEIGHTS[1]} == set(os.listdir(folder))
        hub.commits["some/opus"] = "b" * 40


@pytest.mark.usefixtures("root")
def test_what_root_pulls_is_the_service_s(tmp_path: Path, hub: Hub, wan_pipeline: Path) -> None:
    """Cache, spool and noted commit, and what an earlier pull has left; nothing behind links."""
    hub.add("some/wan", wan_pipeline)
    found = settings(tmp_path, "models: {wan: {repository: some/wan}}")
    service, cache, other = 65534, tmp_path / "cache", tmp_path / "others"
    (cache / "earlier").mkdir(parents=True)
    (cache / "earlier/file").touch()
    other.write_text("of root")
    (cache / "link").symlink_to(other)
    (cache / "second_name").hardlink_to(other)
    for folder in (tmp_path, cache):
        os.chown(folder, service, service)
    pull.pull_model(found, "wan", newest=False)
    owners = {
        str(path.relative_to(tmp_path)): path.lstat().st_uid
        for path in (cache, *cache.rglob("*"), found.spool, *found.spool.rglob("*"))
    }
    assert "spool/pinned.json" in owners
    assert len(owners) > 20
    assert ["cache/second_name"] == [name for name, uid in owners.items() if uid != service]
    assert 0 == other.stat().st_uid


def test_pull_gets_loras_too(
    tmp_path: Path, hub: Hub, wan_pipeline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model is not downloaded before they are; of their repository, only the named files."""
    loras = tmp_path / "loras"
    loras.mkdir()
    for name in ("high.safetensors", "low.safetensors", "other.safetensors"):
        (loras / name).write_bytes(name.encode())
    hub.add("some/wan", wan_pipeline)
    hub.add("some/loras", loras, commit="c" * 40)
    found = settings(
        tmp_path,
        "models:\n  wan:\n    repository: some/wan\n    loras:\n"
        "      a: {repository: some/loras, weight_name: high.safetensors}\n"
        "      b: {repository: some/loras, weight_name: low.safetensors, always: true}\n",
    )
    wanted = models.repository("wan", found.models["wan"], found)
    assert wanted is not None
    found.spool.mkdir()
    downloads.fetch(wanted)
    assert models.is_to_come("wan", found)
    pull.pull_model(found, "wan", newest=False)
    printed = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert ["high.safetensors", "low.safetensors"] == [path.name for path in printed[1:]]
    assert b"high.safetensors" == printed[1].read_bytes()
    assert not models.is_to_come("wan", found)
    assert not list((tmp_path / "cache").rglob("other.safetensors"))
    source = profiles.untuned("wan", found)
    hub.close()
    files = [
        downloads.fetch_file(lora_files.repository(source, lora), str(lora.weight_name))
        for lora in source.loras
    ]
    assert printed[1:] == files
    assert {"c" * 40} == {hub_cache.commit_of(file) for file in files}


def test_nothing_is_pulled_if_the_disk_has_no_room_for_all(
    tmp_path: Path, hub: Hub, wan_pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the model alone, nor a model whose LoRA does not exist."""
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / "large.safetensors").write_bytes(bytes(4 << 20))
    hub.add("some/wan", wan_pipeline)
    hub.add("some/loras", tmp_path / "loras")
    text = (
        "models: {wan: {repository: some/wan, loras: {a: {repository: some/loras, "
        "weight_name: %s.safetensors}}}}"
    )
    usage = shutil.disk_usage("/")._replace(free=(256 + 2) << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(Unavailable, match=r"wan needs 0\.0 GB more in .* where 0\.3 GB are free"):
        pull.pull_model(settings(tmp_path, text % "large"), "wan", newest=False)
    with pytest.raises(ConfigError, match=r"has no file larg\.safetensors"):
        pull.pull_model(settings(tmp_path, text % "larg"), "wan", newest=False)
    assert [] == hub.ranges
    usage = usage._replace(free=(256 + 8) << 20)
    pull.pull_model(settings(tmp_path, text % "large"), "wan", newest=False)
    assert hub.ranges


def test_a_lora_that_its_repository_does_not_have(tmp_path: Path, hub: Hub) -> None:
    """The files that it has are named, with the key of config.yaml."""
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / "high.safetensors").touch()
    hub.add("some/loras", tmp_path / "loras")
    text = (
        "models: {wan: {path: x, loras: {a: {repository: some/%s, weight_name: hig.safetensors}}}}"
    )
    for name, key, problem, remedy in (
        ("loras", "weight_name", "some/loras has no file hig.safetensors", "'high.safetensors'?"),
        ("nothing", "repository", "there is no repository some/nothing", "correct the name"),
    ):
        found = settings(tmp_path, text % name)
        with pytest.raises(ConfigError) as caught:
            pull.pull_model(found, "wan", newest=False)
        [mistake] = caught.value.mistakes
        assert f"models.wan.loras.a.{key}" == mistake.key
        assert problem in mistake.problem
        assert remedy in mistake.remedy


def test_what_can_not_be_pulled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong name gets the nearest one; a model that is here needs no download."""
    found = settings(tmp_path, "models: {mine: {path: mine}}")
    with pytest.raises(WrongUsage, match=r"no profile 'wan2.1-13b': did you mean 'wan2.1-1.3b'"):
        pull.pull_model(found, "wan2.1-13b", newest=False)
    for name in ("mine", "bundled"):
        pull.pull_model(found, name, newest=False)
        assert f"{name} is on this machine already" in capsys.readouterr().err
    with pytest.raises(WrongUsage, match=r"`translate: \{zh: .+\}`"):
        pull.pull_model(found, "translate.zh", newest=False)


def test_check_warns_before_a_start(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a model that won't fit or is not downloaded; it is neither downloaded nor refused."""
    monkeypatch.setattr(fits, "host_bytes", lambda: 8 * GB)
    rows = list(check.machine(settings(tmp_path, "model: wan2.1-14b")))
    assert ["device", "memory", "model"] == [row.what for row in rows]
    assert ["ok", "??", "??"] == [row.mark for row in rows]
    assert "wan2.1-14b may not fit: it needs 97.2 GB of memory without a GPU" in rows[1].detail
    assert "not on this machine (80.4 GB); `reeldrop pull wan2.1-14b`" in rows[2].detail
    assert [] == hub.asked
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(fits, "host_bytes", lambda: 800 * GB)
    found = settings(tmp_path, "model: wan2.1-14b\nmodels: {ltx-video: {}}")
    (_, row, other) = check.machine(found)
    assert ("model", "NO", True) == (row.what, row.mark, row.may_pass)
    assert "`reeldrop pull wan2.1-14b`" in row.detail
    assert ("model ltx-video", "??") == (other.what, other.mark)
    assert "`HF_HUB_OFFLINE=0 reeldrop pull ltx-video`" in other.detail


def test_a_card_that_is_too_small_is_told_before_the_first_prompt(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each model that config.yaml names, with what helps."""
    monkeypatch.setattr(devices, "total_bytes", lambda: 24 * GB)
    monkeypatch.setattr(fits, "host_bytes", lambda: 100 * GB)
    text = "model: wan2.1-14b\nmodels: {ltx-2: {}, wan2.1-1.3b: {}}"
    rows = {row.what: row for row in check.machine(settings(tmp_path, text))}
    assert "model wan2.1-1.3b: memory" not in rows
    for what, model, needs, has in (
        ("memory", "wan2.1-14b", "35 GB", "20.7 GB"),
        ("model ltx-2: memory", "ltx-2", "50 GB", ""),
    ):
        assert ("??", True) == (rows[what].mark, rows[what].ok)
        detail = rows[what].detail
        assert f"{model} may not fit: it needs {needs} on the GPU" in detail
        assert "this machine has 24 GB on the GPU and 100 GB of memory" in detail
        way = f"with `quantization: int8`, it needs {has} on the GPU"
        assert (way in detail) if has else ("quantization" not in detail)
        assert "`placement: sequential_offload` begins with that" in detail
    text += "\nengine: ray\nray: {address: '127.0.0.1:1', token_file: t, interface: lo}"
    rows = {row.what: row for row in check.machine(settings(tmp_path, text))}
    assert not [what for what in rows if what.endswith("memory")]  # other machines load them
    assert [] == hub.asked


def test_a_disk_that_is_too_small_is_told_before_the_download(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk of the hub's cache, which may not be that of the results. What is there counts."""
    cache, asked = tmp_path / "cache", []
    usage = shutil.disk_usage("/")._replace(free=50 * GB)

    def measured(path: Path) -> Any:
        asked.append(Path(path))
        return usage

    monkeypatch.setattr(shutil, "disk_usage", measured)
    text = "model: wan2.1-14b\nmodels: {ltx-video: {}, kandinsky-5-lite: {}}"
    rows = {row.what: row.detail for row in check.machine(settings(tmp_path, text))}
    assert f"it takes 80.4 GB more in {cache}, where 50.0 GB are free" in rows["model"]
    assert "0.3 GB have to stay so: make room" in rows["model"]
    assert "HF_HOME" in rows["model"]
    assert (
        "(28.4 GB); `reeldrop pull ltx-video` downloads it, or else its first prompt"
        in (rows["model ltx-video"])
    )
    assert "free" not in rows["model ltx-video"]
    assert "(size not known)" in rows["model kandinsky-5-lite"]
    assert {tmp_path} == set(asked)  # the cache is not made by a look
    blobs = cache / "models--Wan-AI--Wan2.1-T2V-14B-Diffusers" / "blobs"
    blobs.mkdir(parents=True)
    with (blobs / "half.reeldrop").open("wb") as file:
        file.truncate(40 * GB)  # no disk is used
    asked.clear()
    rows = {row.what: row.detail for row in check.machine(settings(tmp_path, text))}
    assert "free" not in rows["model"]
    assert blobs == asked[0]
    assert [] == hub.asked
    blobs = cache / "models--lightx2v--Wan2.2-Distill-Loras" / "blobs"
    blobs.mkdir(parents=True)
    with (blobs / "one").open("wb") as file:  # two LoRAs of the profile are from there
        file.truncate(40 * GB)
    (_, _, row) = check.machine(settings(tmp_path, "model: wan2.2-a14b-4step"))
    assert "it takes 87.0 GB more in" in row.detail


def test_half_a_download_is_not_taken_for_a_whole_one(
    tmp_path: Path, hub: Hub, wan_pipeline: Path
) -> None:
    """Other programs fetch the small files first. `check` is no download."""
    hub.add("some/wan", wan_pipeline)
    huggingface_hub.snapshot_download("some/wan", ignore_patterns=["*.safetensors"])
    found = settings(tmp_path, "model: wan\nmodels: {wan: {repository: some/wan}}")
    assert models.is_to_come("wan", found)
    hub.asked.clear()
    *_, row = check.machine(found)
    assert ("model", "??") == (row.what, row.mark)
    assert "wan is not on this machine (size not known); `reeldrop pull wan`" in row.detail
    assert [] == hub.asked


def test_the_bar_of_a_start_shows_the_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its share during the download; without an end while the model is read."""
    seen: list[tuple[object, object]] = []

    class Seen(progress.Progress):
        """A progress bar that records its updates."""

        def update(self, task_id: Any, **settings: Any) -> None:
            seen.append((settings["total"], settings["completed"]))
            super().update(task_id, **settings)

    monkeypatch.setattr(progress, "Progress", Seen)
    status = Status(1, State.LOADING, "m", "2026-11-28T00:00:00+00:00", reason="m")
    with progress.bar_of_status(True) as observe:
        observe(dataclasses.replace(status, downloaded=0.25))
        observe(status)
    assert [(1.0, 0.25), (None, 0)] == seen
