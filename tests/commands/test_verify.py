"""`reeldrop verify`: what a file claims, whether its signature holds, whether it is ours."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import av
import pytest
from harness import certificates
from harness.site import Site, make_site
from reeldrop.commands import verify
from reeldrop.config.config import Config
from reeldrop.video import identity

MODEL = "tiny"
"""The name of the folder of the tests' model."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: Path) -> Site:
    """A drained site with a certificate, and a video in all formats."""
    site = make_site(tmp_path_factory.mktemp("verify") / "site", tiny_pipeline)
    certificate, key = certificates.save(site.folder)
    site.configure(f"provenance: {{certificate: {certificate.name}, key: {key.name}}}")
    site.drop("boat.yaml", "prompt: boat\nseed: 1\nformat: [mp4, webm, gif]\n")
    site.drop("other.yaml", "prompt: other\nseed: 2\n")
    site.drop("sweep.yaml", "prompt: a {red|green} fox\nwildcards: all\nseed: 3\n")
    assert 0 == site.drain().returncode
    return site


def verdicts(site: Site, *files: Path, code: int = 0) -> list[dict[str, Any]]:
    """Return what `verify` says of files."""
    done = site.command("verify", "--json", *map(str, files))
    assert code == done.returncode, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_what_was_published_is_known(site: Site) -> None:
    """All formats claim to be synthetic; all but webm are signed; all are known as ours."""
    files = [site.results / "boat" / f"boat.{kind}" for kind in ("mp4", "webm", "gif", "jpg")]
    found = verdicts(site, *files)
    assert all(one["claim"].startswith(f"synthetic by {MODEL} with reeldrop ") for one in found)
    assert ["valid", "none", "valid", "valid"] == [one["signature"] for one in found]
    assert {certificates.ORGANISATION, ""} == {one["signer"] for one in found}
    assert [*map(str, files)] == [one["published"] for one in found]


def test_sheets_are_signed_like_videos(site: Site) -> None:
    """And claim to be synthetic."""
    files = [site.results / "sweep" / f"_sheet.{kind}" for kind in ("jpg", "mp4")]
    found = verdicts(site, *files)
    assert [f"synthetic by {MODEL} with reeldrop"] * 2 == [one["claim"] for one in found]
    assert ["valid"] * 2 == [one["signature"] for one in found]
    assert [*map(str, files)] == [one["published"] for one in found]


def test_what_became_of_a_video_is_told(site: Site, tmp_path: Path) -> None:
    """Without metadata, and as much as sound of 20 s has, its pictures are ours; changed, the
    signature is broken, exit code 1."""
    video = site.results / "boat" / "boat.mp4"
    stripped, changed, foreign = (tmp_path / f"{name}.mp4" for name in "abc")
    with av.open(str(video)) as source, av.open(str(stripped), "w") as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    changed.write_bytes(video.read_bytes().replace(b"trainedAlgorithmic", b"TRAINEDAlgorithmic"))
    foreign.write_bytes(b"\0" * 100)
    whole, of_sound = video.read_bytes(), 600_000
    video.write_bytes(whole + of_sound.to_bytes(4, "big") + b"free" + bytes(of_sound - 8))
    found = verdicts(site, stripped, changed, foreign, code=1)
    video.write_bytes(whole)
    assert ["nothing", "none", str(video)] == [
        found[0][k] for k in ("claim", "signature", "published")
    ]
    assert "broken" == found[1]["signature"]
    assert ["nothing", ""] == [found[2][k] for k in ("claim", "published")]
    assert "not known" in found[2]["signature"]
    assert 1 == site.command("verify", str(tmp_path / "none.mp4")).returncode


def test_the_lines_are_for_people(site: Site, tmp_path: Path) -> None:
    """Without --json: what is claimed, by whom it is signed, and which video it is."""
    copy = tmp_path / "copy.mp4"
    shutil.copy(site.results / "other" / "other.mp4", copy)
    [line] = site.command("verify", str(copy)).stdout.splitlines()
    _, claim, signature, published = line.split("\t")
    assert claim.startswith(f"synthetic by {MODEL} with reeldrop ")
    assert f"valid, of {certificates.ORGANISATION}" == signature
    assert str(site.results / "other" / "other.mp4") == published


def test_a_certificate_that_cannot_be_used_ends_the_start(site: Site) -> None:
    """Exit code 78, and which file is wrong; nothing is taken out of the inbox."""
    site.configure("provenance: {certificate: none.pem, key: c2pa.key}")
    dropped = site.drop("later.txt", "later\n")
    done = site.drain()
    assert 78 == done.returncode
    assert "none.pem" in done.stderr
    assert dropped.exists()


def test_a_file_that_is_missing_keeps_no_other_from_its_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is noted, and the command ends with 1."""
    there, missing = tmp_path / "a.txt", tmp_path / "missing.mp4"
    there.write_text("a horse")
    assert 1 == verify.verify_files(None, [missing, there], as_json=True)
    told = capsys.readouterr()
    assert [str(there)] == [verdict["file"] for verdict in json.loads(told.out)]
    assert f"reeldrop: {missing}: No such file or directory\n" == told.err


def test_what_is_cut_off_is_no_copy_of_a_video(tmp_path: Path) -> None:
    """FFmpeg's errors are of many kinds: here, that the file ends."""
    folders = {name: tmp_path / name for name in ("inbox", "results", "spool")}
    config = Config.model_construct(**folders)
    for suffix in identity.DEMUXERS:
        file = tmp_path / f"a{suffix}"
        file.touch()
        assert "" == verify._published(file, config)
