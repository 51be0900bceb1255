"""Every recipe of docs/sync.md, run as it stands, between a server with the service and a home.

Both are machines with a real systemd, real users and the tools' own services, joined by a cable.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import pages, real_nfs, real_syncthing, real_systemd
from harness.processes import await_that
from harness.programs import needs
from harness.real_service import Service, with_model
from harness.real_syncthing import Node
from harness.real_systemd import HARNESS, PYTHON, Machine
from harness.site import Daemon, Site

PAGE = Path(__file__).parents[2] / "docs" / "sync.md"
TEMPORARY = "~syncthing~reeldrop-of-a-video.~.tmp"
PASSWORD = "a horse"
AN_ID = "ABCDEFG-..."
TESTED = []


def recipes_of(heading: str) -> pytest.MarkDecorator:
    """Give a test the recipes under a heading of the page; it must use all of them."""
    TESTED.append(heading)
    return pytest.mark.parametrize("recipes", [heading], indirect=True, ids=[heading])


@pytest.fixture
def recipes(request: pytest.FixtureRequest) -> Iterator[Iterator[str]]:
    """The recipes under a heading, in order."""
    found = iter([block.text for block in pages.blocks(PAGE, request.param)])
    yield found
    assert [] == list(found), "is on the page, and nobody has run it"


@dataclass
class Place:
    """The machine of reeldrop, and the machine of ann, who may log in there."""

    server: Machine
    home: Machine
    service: Service

    def on_server(self, script: str) -> str:
        """Run a script as root."""
        return self.server.run("sh", "-euc", script).stdout

    def at_home(self, script: str) -> str:
        """Run a script as ann."""
        uid = self.home.run("id", "--user", "ann").stdout.strip()
        own = f"export XDG_RUNTIME_DIR=/run/user/{uid}; set -eu\n"
        return self.home.run("runuser", "--login", "ann", "--command", own + script).stdout

    def let_services_run(self) -> None:
        """Let ann have services of her own at home, as after a login."""
        uid = self.home.run("id", "--user", "ann").stdout.strip()
        self.home.run("loginctl", "enable-linger", "ann")
        manager = f"user@{uid}.service"
        self.home.await_that(
            lambda: self.home.show(manager, "ActiveState")["ActiveState"] == "active", manager
        )

    def write(self, name: str) -> Path:
        """Write a prompt file at home."""
        text = f"the {Path(name).stem} horse"
        text = f"prompt: {text}" if name.endswith(".yaml") else text
        self.at_home(f"mkdir --parents $(dirname {name}); echo '{text}' >{name}")
        return self.home.path(f"/home/ann/{name}")

    def await_video(self, name: str, results: Path | None = None) -> None:
        """Wait until a prompt file lies beside its video, by default on the server.

        There it comes last. What brings them to other results brings them in any order.
        """
        path = (results or self.service.site.results) / Path(name).with_suffix("")
        video = path / f"the_{path.name}_horse.mp4"
        self.server.await_that((path / Path(name).name).exists, f"{name} in {path}")
        if results is not None:
            self.server.await_that(video.exists, f"{video}")
        assert video.stat().st_size > 0
        assert not (self.service.site.inbox / name).exists()

    def assert_back(self, name: str) -> None:
        """Assert that a video is in ann's results, and nothing unfinished."""
        results = self.home.path("/home/ann/results")
        self.await_video(name, results)
        assert [] == list(results.rglob("*reeldrop-*"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: Path) -> Iterator[Place]:
    """A server with the service, which renders a video, and a home."""
    real_systemd.require()
    needs("ip", "sshd", "ssh-keygen")
    folders = (tmp_path_factory.mktemp(name) for name in ("server", "home"))
    with real_systemd.machine(next(folders)) as server, real_systemd.machine(next(folders)) as home:
        real_systemd.connect(server=server, home=home)
        server.install()
        with_model(server, tiny_pipeline)
        server.run("useradd", "--create-home", "--groups=reeldrop", "ann")
        home.run("useradd", "--create-home", "ann")
        made = Place(server, home, Service(server))
        made.service.begin()
        made.service.configure(settle_seconds=1)
        made.service.systemctl("start")
        let_log_in(made)
        unfinished = made.service.site.results / TEMPORARY
        unfinished.write_text("a part of a video")
        yield made


def let_log_in(place: Place) -> None:
    """Let ann log in on the server with a key, as before."""
    key = place.at_home("ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519; cat ~/.ssh/*.pub")
    own = place.server.path("/home/ann/.ssh")
    own.mkdir()
    (own / "authorized_keys").write_text(key)
    place.on_server("chown -R ann: /home/ann/.ssh; ssh-keygen -A; systemctl start ssh")
    place.at_home("ssh -o StrictHostKeyChecking=accept-new ann@server true")


def test_every_recipe_is_run() -> None:
    """Each code block of the page is run by a test."""
    assert {block.heading for block in pages.blocks(PAGE)} == set(TESTED)


@recipes_of("rsync over ssh")
def test_rsync(place: Place, recipes: Iterator[str]) -> None:
    """Prompt files are moved from home, also in a new folder; videos arrive complete."""
    needs("rsync")
    there, back = next(recipes).splitlines()
    path = place.write("poems/rsync.txt")
    place.at_home(there)
    assert not path.exists()
    place.await_video("poems/rsync.txt")
    place.at_home(back)
    place.assert_back("poems/rsync.txt")


@recipes_of("scp and sftp")
def test_scp_and_sftp(place: Place, recipes: Iterator[str]) -> None:
    """Both send a prompt file; the folder of a video can be fetched."""
    needs("scp", "sftp")
    scp, sftp, back = next(recipes).splitlines()
    place.write("li_bai.yaml")
    place.write("du_fu.yaml")
    place.at_home(scp)
    place.at_home(sftp)
    place.await_video("li_bai.yaml")
    place.await_video("du_fu.yaml")
    place.at_home(back)
    place.await_video("li_bai.yaml", place.home.path("/home/ann"))


@recipes_of("rclone")
def test_rclone(place: Place, recipes: Iterator[str]) -> None:
    """Prompt files are moved from home, also in a new folder; videos arrive complete."""
    needs("rclone")
    configure, there, back = next(recipes).splitlines()
    path = place.write("poems/rclone.txt")
    place.at_home(configure)
    place.at_home(there)
    assert not path.exists()
    place.await_video("poems/rclone.txt")
    place.at_home(back)
    place.assert_back("poems/rclone.txt")


@recipes_of("Unison")
def test_unison(place: Place, recipes: Iterator[str]) -> None:
    """A finished prompt file leaves both sides; videos arrive complete."""
    needs("unison")
    give_rights, there, back = next(recipes).replace("\\\n", "").splitlines()
    path = place.write("poems/unison.txt")
    place.write("poems/README.md")
    place.at_home(give_rights)
    place.at_home(there)
    place.await_video("poems/unison.txt")
    place.at_home(there)
    assert not path.exists()
    place.at_home(back)
    place.assert_back("poems/unison.txt")


@recipes_of("Samba")
def test_samba(place: Place, recipes: Iterator[str]) -> None:
    """A user with a password puts a prompt file into one share, and finds the video in another."""
    needs("smbd", "smbclient")
    shares, let_in, clients = recipes
    with place.server.path("/etc/samba/smb.conf").open("a") as file:
        file.write(shares)
    add, restart = let_in.splitlines()
    place.on_server(f"printf '{PASSWORD}\n{PASSWORD}\n' | {add.replace('-a', '-s -a')}")
    place.on_server(restart)
    there, back = clients.replace("--user=ann", f"--user='ann%{PASSWORD}'").splitlines()
    place.write("su_shi.yaml")
    place.at_home(there)
    place.await_video("su_shi.yaml")
    place.at_home(back)
    place.await_video("su_shi.yaml", place.home.path("/home/ann"))


@recipes_of("Syncthing")
def test_syncthing(
    place: Place, recipes: Iterator[str], site: Site, daemon: Callable[[], Daemon], tmp_path: Path
) -> None:
    """The inbox is synced both ways, the results one way; a shared root excludes the spool."""
    needs("syncthing")
    begin_server, begin_home, server, home, ignore = recipes
    server_id = place.on_server(begin_server).split()[-1]
    place.let_services_run()
    home_id = place.at_home(begin_home).split()[-1]
    answers = "until syncthing cli {} show system >/dev/null 2>&1; do sleep 0.1; done\n"
    place.on_server(answers.format("--home=/srv/reeldrop/.config/syncthing") + use(server, home_id))
    place.at_home(answers.format("") + use(home, server_id))
    path = place.write("reeldrop/inbox/poems/syncthing.txt")
    results = place.home.path("/home/ann/reeldrop/results")
    place.await_video("poems/syncthing.txt")
    place.await_video("poems/syncthing.txt", results)
    place.home.await_that(lambda: not path.exists(), "the inbox at home to be empty")
    assert [] == list(results.rglob("*reeldrop-*"))
    the_spool_stays(ignore, site, daemon, tmp_path / "far")


def use(recipe: str, device_id: str) -> str:
    """Put the other side's id into a recipe."""
    assert 1 == recipe.count(AN_ID)
    return recipe.replace(AN_ID, device_id)


def the_spool_stays(ignore: str, site: Site, daemon: Callable[[], Daemon], far: Path) -> None:
    """Share a folder that has inbox, results and spool."""
    nodes = [
        Node(folder.parent / name, {"all": folder}, {"all": "sendreceive"})
        for name, folder in (("here", site.folder), ("there", far))
    ]
    for folder in (site.folder, far):
        (folder / ".stignore").write_text(ignore)
    (site.folder / ".config").mkdir()
    (site.folder / ".config" / "key").touch()
    daemon().wait_for("ready")
    with real_syncthing.connected(*nodes):
        await_that((far / "inbox").is_dir, "the inbox to be there")
        (far / "inbox" / "one.txt").write_text("the one horse\n")
        await_that((far / "results" / "one" / "one.txt").exists, "the prompt file")
        await_that((far / "results" / "one" / "the_one_horse.mp4").exists, "the video")
        await_that(lambda: not (far / "inbox" / "one.txt").exists(), "the inbox to be empty")
        known = json.dumps(nodes[1].ask("db/browse?folder=all"))
    assert "the_one_horse.mp4" in known
    found = {name for name in ("reeldrop-", "spool", "config.yaml", "key") if name in known}
    assert set() == found


@recipes_of("Nextcloud and ownCloud")
def test_nextcloud(place: Place, recipes: Iterator[str]) -> None:
    """Its client syncs both sides: a claimed file leaves the cloud and the home."""
    needs("nextcloudcmd")
    *files, begin = (text.replace("https:", "http:") for text in recipes)
    start_cloud(place)
    for text in "\n".join(files).split("# /")[1:]:
        name, _, content = text.partition("\n")
        place.server.path(name).write_text(content)
    sooner = place.server.path("/etc/systemd/system/reeldrop-cloud.timer.d/sooner.conf")
    sooner.parent.mkdir()
    sooner.write_text("[Timer]\nOnUnitInactiveSec=2s\n")  # besides the recipe's 30 s
    client = "nextcloudcmd --non-interactive -u ann -p APP-PASSWORD --path"
    carry = " && ".join(
        f"mkdir -p cloud/{folder} && {client} /films/{folder} cloud/{folder} http://cloud.example"
        for folder in ("inbox", "results")
    )
    path = place.write("cloud/inbox/poems/cloud.txt")
    place.write("cloud/inbox/README.md")
    place.at_home(carry)
    place.on_server(begin)
    place.await_video("poems/cloud.txt")
    back = place.home.path("/home/ann/cloud/results/poems/cloud/cloud.txt")

    def is_back() -> bool:
        place.at_home(carry)
        return back.exists() and not path.exists()

    place.home.await_that(is_back, "the video, and the inbox to be empty")
    place.await_video("poems/cloud.txt", back.parents[2])
    assert [] == list(place.home.path("/srv/cloud").rglob("*reeldrop-*"))


def start_cloud(place: Place) -> None:
    """Start a cloud at home, with the folders of the page."""
    for name in ("inbox", "results"):
        place.home.path(f"/srv/cloud/films/{name}").mkdir(parents=True)
    for machine in (place.server, place.home):
        with machine.path("/etc/hosts").open("a") as file:
            file.write(f"{real_systemd.address(2)} cloud.example\n")
    program = (
        f"{PYTHON}/bin/python3",
        f"{HARNESS}/cloud_server.py",
        "/srv/cloud",
        "80",
    )
    library = f"--setenv=LD_LIBRARY_PATH={PYTHON}/lib"
    place.home.run("systemd-run", "--unit=cloud", library, *program)
    is_open = ("bash", "-c", ": <>/dev/tcp/cloud.example/80")
    place.home.await_that(
        lambda: place.server.run(*is_open, check=False).returncode == 0, "the cloud to answer"
    )


@recipes_of("NFS")
def test_nfs(recipes: Iterator[str], tiny_pipeline: Path, tmp_path: Path) -> None:
    """Inbox, results and spool on an NFS server, under one user id."""
    needs(*real_nfs.PROGRAMS)
    exports, fstab = recipes
    (tmp_path / "machine").mkdir()
    done = real_nfs.run(
        tmp_path / "machine",
        exports,
        fstab,
        (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--exitfirst",
         f"--basetemp={tmp_path}/inside", str(Path(__file__).with_name("on_nfs.py"))),
        PIPELINE=str(tiny_pipeline),
        PYTHONPATH=os.pathsep.join(filter(None, sys.path)),
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout[-10_000:]
