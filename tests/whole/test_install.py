"""`make install` below DESTDIR: complete and removable. `test_systemd.py` has that on a machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness import real_systemd

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
SYSTEM_UNITS = ("reeldrop.service", "reeldrop@.service", "reeldrop-notify.service")

INSTALLED = {
    "etc/reeldrop/config.yaml",
    "opt/reeldrop/CHANGELOG.md",
    "opt/reeldrop/allow-download.conf",
    "opt/reeldrop/cluster.conf",
    "opt/reeldrop/docs/cluster.md",
    "opt/reeldrop/docs/commands.md",
    "opt/reeldrop/docs/comparison.png",
    "opt/reeldrop/docs/gallery.png",
    "opt/reeldrop/docs/languages.md",
    "opt/reeldrop/docs/models.md",
    "opt/reeldrop/docs/monitoring/alerts.yml",
    "opt/reeldrop/docs/monitoring/dashboard.json",
    "opt/reeldrop/docs/operations.md",
    "opt/reeldrop/docs/prompt-files.md",
    "opt/reeldrop/docs/sync.md",
    "opt/reeldrop/reeldrop-ray.service",
    "usr/local/bin/reeldrop",
    "usr/local/lib/systemd/system/reeldrop-notify.service",
    "usr/local/lib/systemd/system/reeldrop.service",
    "usr/local/lib/systemd/system/reeldrop.service.d/back-off.conf",
    "usr/local/lib/systemd/system/reeldrop@.service",
    "usr/local/lib/systemd/system/reeldrop@.service.d/back-off.conf",
    "usr/local/lib/sysusers.d/reeldrop.conf",
    "usr/local/lib/tmpfiles.d/reeldrop.conf",
}

# Under DESTDIR, as a package is made


def make(target: str, destination: Path, **environment: str) -> None:
    """Run a make target for a place that is not the root."""
    command = ("make", f"--directory={ROOT}", target, f"PYTHON={sys.executable}")
    done = subprocess.run(
        [*command, f"DESTDIR={destination}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PIP_NO_COMPILE": "0", **environment},  # 0: pip reads it as true
    )
    assert done.returncode == 0, done.stdout + done.stderr


def files(folder: Path) -> set[str]:
    """Return the files below a folder, without those of the environment."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    links = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink()}
    return {name for name in found | links if "/.venv/" not in name}


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which reeldrop was installed."""
    folder = tmp_path_factory.mktemp("packaged")
    environment = real_systemd.offline_pip(tmp_path_factory.mktemp("pip") / "build")
    make("install", folder / "root", SYSTEMD_VERSION="254", **environment)
    return folder / "root"


def test_all_is_below_destdir(packaged: Path) -> None:
    """All files are there as in the repository; the command is a link to the final place."""
    assert INSTALLED == files(packaged)
    below = packaged / "usr/local/lib"
    for name in SYSTEM_UNITS:
        assert (UNITS / name).read_text() == (below / "systemd/system" / name).read_text()
    assert "/opt/reeldrop/.venv/bin/reeldrop" == os.readlink(packaged / "usr/local/bin/reeldrop")


def test_links_of_the_pages_lead_somewhere(packaged: Path) -> None:
    """Each page and picture that an installed page links to is installed, too."""
    root = packaged / "opt/reeldrop"
    for page in (root / "CHANGELOG.md", *(root / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), (page.name, link)


def test_the_environment_is_made_for_its_final_place(packaged: Path) -> None:
    """No script in it has the path of the folder that it was packaged in."""
    environment = packaged / "opt/reeldrop/.venv"
    scripts = [path for path in (environment / "bin").iterdir() if not path.is_symlink()]
    for path in (*scripts, environment / "pyvenv.cfg"):
        assert str(packaged) not in path.read_text()
    first = (environment / "bin/reeldrop").read_text().splitlines()[0]
    assert "#!/opt/reeldrop/.venv/bin/python" == first.rstrip("0123456789.")
    assert (
        len(list(environment.glob("lib/python3*/site-packages/reeldrop/service/service.py"))) == 1
    )


def test_the_config_has_absolute_folders(packaged: Path) -> None:
    """It is the shipped one, with the service's folders."""
    text = (packaged / "etc/reeldrop/config.yaml").read_text()
    for name in ("inbox", "results", "spool", "failed"):
        assert f"\n{name}: /srv/reeldrop/" in text
    assert (ROOT / "config.yaml").read_text() == text.replace("/srv/reeldrop/", "")


@pytest.mark.parametrize("target", ["install", "install-user"])
@pytest.mark.parametrize(("version", "is_added"), [("", False), ("253", False), ("254", True)])
def test_it_waits_longer_each_time_where_systemd_can(
    target: str, version: str, is_added: bool
) -> None:
    """Older versions would warn of the drop-in at each start."""
    command = ("make", f"--directory={ROOT}", "--dry-run", target, "DESTDIR=/nowhere")
    done = subprocess.run(
        [*command, f"SYSTEMD_VERSION={version}"], capture_output=True, text=True, check=True
    )
    steps = [line for line in done.stdout.splitlines() if "back-off.conf" in line]
    conditions = {line.partition(" || ")[0] for line in steps}
    results = [subprocess.run(["sh", "-c", one], check=False).returncode for one in conditions]
    assert [int(is_added)] == results


def test_nothing_is_left_in_the_source(packaged: Path) -> None:
    """A build in the source would be part of the next one; a training's folder is none."""
    assert packaged.exists()
    assert [] == [*ROOT.glob("build/lib*"), *ROOT.glob("build/bdist*")]


def test_what_an_operator_has_is_kept(packaged: Path, tmp_path: Path) -> None:
    """An upgrade keeps config.yaml; uninstall removes only what was installed."""
    root = tmp_path / "root"
    shutil.copytree(packaged, root, symlinks=True)
    config = root / "etc/reeldrop/config.yaml"
    config.write_text("model: bundled\n")
    own = {"srv/reeldrop/inbox/a.txt", "srv/reeldrop/results/a/a.mp4", "opt/reeldrop/notes.txt"}
    for name in own:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    environment = real_systemd.offline_pip(tmp_path / "build")
    make("install", root, SYSTEMD_VERSION="254", **environment)
    assert "model: bundled\n" == config.read_text()
    make("uninstall", root)
    make("uninstall", root)
    assert {*own, "etc/reeldrop/config.yaml"} == files(root)
    assert not (root / "opt/reeldrop/.venv").exists()


# The units


def directives(path: Path) -> list[str]:
    """Return the lines of a unit without comments and blank lines."""
    lines = path.read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_the_instances_differ_in_their_names_only() -> None:
    """A change of one unit must also be made in the other."""
    one, many = (directives(UNITS / name) for name in SYSTEM_UNITS[:2])
    assert ["EnvironmentFile=-/etc/reeldrop/%i.env"] == [
        line for line in many if line.startswith("EnvironmentFile=")
    ]
    assert one == [
        line.replace(" (%i)", "")
        .replace("/%i.yaml", "/config.yaml")
        .replace("reeldrop/%i", "reeldrop")
        for line in many
        if not line.startswith("EnvironmentFile=")
    ]


def test_the_watchdog_is_slower_than_reeldrop_itself() -> None:
    """A hung render is ended by reeldrop, which says where; the watchdog can't."""
    from reeldrop.config.config import Config

    stall_seconds = Config.model_fields["stall_seconds"].default
    for name in (*SYSTEM_UNITS, "reeldrop-user.service"):
        (line,) = (line for line in directives(UNITS / name) if line.startswith("WatchdogSec="))
        assert 60 * int(line.removeprefix("WatchdogSec=").removesuffix("min")) > stall_seconds
