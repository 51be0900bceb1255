"""check: its tests of the folders disturb no other process, and leave nothing."""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from harness.processes import run
from harness.site import Site
from reeldrop.base import temporaries
from reeldrop.base.errors import ConfigError
from reeldrop.commands import check, check_cluster, fits
from reeldrop.config import config, profiles
from reeldrop.config.config import Config
from reeldrop.render import pipeline


@pytest.fixture
def settings(site: Site) -> Config:
    """The config.yaml of a site."""
    return config.load(site.folder / "config.yaml")


def left(site: Site) -> list[str]:
    """Return the names of all temporary files."""
    return [path.name for path in site.folder.rglob("*") if temporaries.is_temporary(path.name)]


def test_two_that_check_at_once_do_not_disturb_each_other(
    settings: Config, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon starts while a person runs `reeldrop check`: both succeed."""
    rename, rows = os.rename, []

    def interrupted(source: Path, target: Path) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(os, "rename", rename)
            rows.extend(check.folders(settings))
        rename(source, target)

    monkeypatch.setattr(os, "rename", interrupted)
    rows.extend(check.folders(settings))
    assert len(rows) > 20
    assert [] == [row for row in rows if not row.ok]
    assert [] == left(site)


KILLED_HALF_WAY = """
import os, signal, sys
from pathlib import Path
from reeldrop.commands import check
from reeldrop.config import config, profiles
os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
list(check.folders(config.load(Path(sys.argv[1]))))
"""


def test_what_a_kill_has_left_of_a_check_goes_with_one_an_hour_later(
    settings: Config, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then a file stays, because another process may use it."""
    script = tmp_path / "killed_half_way.py"
    script.write_text(KILLED_HALF_WAY)
    file = str(site.folder / "config.yaml")
    assert -signal.SIGKILL == run([sys.executable, str(script), file]).returncode
    (killed,) = left(site)
    assert all(row.ok for row in check.folders(settings))
    assert [killed] == left(site)
    monkeypatch.setattr(temporaries, "LEFT_SECONDS", 0.0)
    assert all(row.ok for row in check.folders(settings))
    assert [] == left(site)


def test_what_is_no_file_of_a_command_is_left_alone(
    settings: Config, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other names in the inbox don't keep the daemon from starting."""
    monkeypatch.setattr(temporaries, "LEFT_SECONDS", 0.0)
    temporaries.beside(site.inbox / "x", "job-1").touch()
    temporaries.beside(site.inbox / "x", "command-1").mkdir()
    before = left(site)
    assert all(row.ok for row in check.folders(settings))
    assert before == left(site)


def test_a_folder_without_permission_is_named(
    settings: Config, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the temporary file that could not be made in it."""

    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "rename", refuse)
    bad = {row.what: row.detail for row in check.folders(settings) if not row.ok}
    assert {"inbox", "results", "failed", "spool"} == bad.keys()
    assert f"Permission denied: {site.inbox}" == bad["inbox"]


@pytest.mark.parametrize(
    ("name", "leads_into"),
    [("failed", "inbox"), ("failed", "spool"), ("results", "spool"), ("spool", "failed")],
)
def test_folders_that_a_link_leads_into_each_other_are_refused(
    name: str, leads_into: str, site: Site, tmp_path: Path
) -> None:
    """Links are resolved before anything is made or tried there."""
    into = {"inbox": site.inbox, "spool": site.spool, "failed": site.failed}[leads_into]
    (tmp_path / "link").symlink_to(into)
    site.configure(f"{name}: {tmp_path}/link/below")
    before = sorted(site.folder.rglob("*"))
    settings = config.load(site.folder / "config.yaml")
    with pytest.raises(ConfigError, match=f"{name}.* is inside the "):
        check.require_folders(settings)
    assert before == sorted(site.folder.rglob("*"))


def test_what_failed_may_be_in_the_results_by_a_link(site: Site, tmp_path: Path) -> None:
    """As in the default configuration."""
    (tmp_path / "link").symlink_to(site.results)
    site.configure(f"failed: {tmp_path}/link/below")
    site.results.mkdir()
    check.require_folders(config.load(site.folder / "config.yaml"))


def test_a_spool_in_a_synced_folder_is_warned_of(settings: Config, site: Site) -> None:
    """A synced spool is a problem; a synced inbox is not."""
    (site.inbox / ".stfolder").mkdir()
    assert [] == list(check.synced(settings))
    (site.folder / ".stfolder").mkdir()
    [row] = check.synced(settings)
    assert not row.ok
    assert "Syncthing" in row.detail
    assert str(site.folder / ".stfolder") in row.detail
    assert "set spool to a folder outside" in row.detail


def test_the_files_of_each_model_are_looked_at(site: Site, wan_pipeline: Path) -> None:
    """A chosen model whose files can't be read, or whose class can't do what its profile asks for,
    is reported, even if the own model is fine."""
    path = site.folder / "config.yaml"
    with path.open("a") as file:
        file.write(f"  wan: {{path: {wan_pipeline}}}\n  broken: {{path: nowhere}}\n")
        file.write(f"  weighted:\n    path: {wan_pipeline}\n    prompt_syntax: weighted\n")
        pictures = f"    path: {wan_pipeline}\n    pipeline: WanImageToVideoPipeline\n"
        file.write(f"  windows:\n{pictures}    window: auto\n")
    found = {row.what: row for row in check.machine(config.load(path), path)}
    names = ("model", "model wan", "model broken", "model weighted", "model windows")
    assert {"device", *names} == found.keys()
    assert [True, True, False, False, False] == [found[what].ok for what in names]
    assert not any(found[what].may_pass for what in names)
    assert "nowhere" in found["model broken"].detail
    last = len(path.read_text().splitlines())
    assert "CLIP is not the only text encoder" in found["model weighted"].detail
    assert f"line {last - 4}, column 5, key 'models.wei" in found["model weighted"].detail
    assert "does not support windows" in found["model windows"].detail
    assert f"line {last}, column 5, key 'models.windows.window'" in found["model windows"].detail


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_placement_on_a_gpu_that_is_not_there_is_told(site: Site) -> None:
    """Of each model, with its line, and without a word about memory."""
    with (path := site.folder / "config.yaml").open("a") as file:
        file.write("    placement: cuda\n  wan2.1-14b:\n    placement: model_offload\n")
    last = len(path.read_text().splitlines())
    found = {row.what: row for row in check.machine(config.load(path), path)}
    assert {"device", "model", "model wan2.1-14b"} == found.keys()
    for what, line in (("model", last - 2), ("model wan2.1-14b", last)):
        assert not found[what].ok
        assert f"line {line}, column 5, key 'models." in found[what].detail
        assert "needs a CUDA device, and there is none" in found[what].detail


def test_what_is_wrong_with_a_loaded_model_has_its_place(site: Site) -> None:
    """The line in config.yaml, though it is known only when the model is loaded."""
    with (site.folder / "config.yaml").open("a") as file:
        file.write("    window: auto\n    overlap: 16\n")
    path = site.folder / "config.yaml"
    *_, row = check.machine(config.load(path), path)
    last = len(path.read_text().splitlines())
    assert f"{path}, line {last}, column 5, key 'models.tiny.overlap': an overlap of" in row.detail
    assert row.detail.endswith("(use less than 16)")


@pytest.mark.parametrize(("gpus", "is_ok"), [(0, True), (1, False), (2, True)])
def test_the_gpus_that_render_a_video_together_are_counted(
    gpus: int, is_ok: bool, site: Site, wan_pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any, the processes share the CPU. `tune` has nothing to choose for them."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with (site.folder / "config.yaml").open("a") as file:
        file.write(f"  wan: {{path: {wan_pipeline}, gpus: 2}}\n")
    settings = config.load(site.folder / "config.yaml")
    [row] = check._groups_of_gpus(settings, None)
    assert ("gpus of wan", is_ok) == (row.what, row.ok)
    assert ("render a video together" if is_ok else "this renderer has 1") in row.detail
    with pytest.raises(ConfigError, match="tune times one GPU, and 2 render"):
        profiles.to_tune(profiles.untuned("wan", settings), settings.allowed("wan"))


def test_a_model_that_is_larger_than_the_memory_is_not_loaded(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel would kill the check, with all that it has to tell."""
    monkeypatch.setattr(fits, "host_bytes", lambda: 1000)
    monkeypatch.setattr(pipeline, "load", pytest.fail)
    settings = config.load(site.folder / "config.yaml")
    _, memory, model = check.machine(settings)
    assert ("memory", "??") == (memory.what, memory.mark)
    assert "tiny may not fit: it needs " in memory.detail
    assert "this machine has 0 MB of memory" in memory.detail
    assert ("model", "??") == (model.what, model.mark)
    assert "tiny was not loaded" in model.detail


def test_the_section_of_a_cluster_is_checked_key_by_key(site: Site) -> None:
    """Each with its place, reason and remedy; what is right is told, too."""
    site.configure(
        "engine: ray",
        "ray: {address: '127.0.0.1:1', interface: wg77, token_file: no-token}",
    )
    settings = config.load(site.folder / "config.yaml")
    found = {row.what: row for row in check_cluster.rows(settings)}
    assert [True, False, False] == [row.ok for row in found.values()]
    token = found["ray: token_file"].detail
    assert f"key 'ray.token_file': the token file {site.folder}/no-token can't be read" in token
    assert "openssl rand -hex 32" in token
    assert (
        "key 'ray.interface': this machine has no interface 'wg77'"
        in found["ray: interface"].detail
    )
    (site.folder / "no-token").touch(0o600)
    (site.folder / "no-token").write_text("f" * 64)
    site.configure("ray: {address: '127.0.0.1:1', interface: lo, token_file: no-token}")
    *good, address = check_cluster.rows(config.load(site.folder / "config.yaml"))
    assert all(row.ok and not row.doubt for row in good)
    assert "127.0.0.1 in 127.0.0.0/8" in good[-1].detail
    assert (True, True) == (address.ok, address.doubt)
    assert "127.0.0.1:1 can't be reached: Connection refused" in address.detail


def test_a_profile_that_needs_a_larger_gpu_is_told(site: Site) -> None:
    """The daemon would not start with that; another profile's prompts would fail."""
    site.configure("engine: in_process")
    with (site.folder / "config.yaml").open("a") as file:
        file.write("    min_memory_gb: 20\n  bundled: {min_memory_gb: 30}\n")
    found = {row.what: row for row in check.machine(config.load(site.folder / "config.yaml"))}
    own, other = found["model tiny: memory"], found["model bundled: memory"]
    assert (False, True) == (own.ok, other.ok)
    assert "key 'models.tiny.min_memory_gb': it needs a GPU with 20 GB of memory" in own.detail
    assert other.doubt
