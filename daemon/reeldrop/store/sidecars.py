"""Sidecars: what the YAML beside a video says, and which video of a job it belongs to.

A sidecar is a prompt file that renders the video again. Does not know where sidecars are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from reeldrop.base import plain_files, strict_yaml, yaml_text
from reeldrop.base.errors import YamlError
from reeldrop.base.escaping import shown
from reeldrop.base.job import Job, Prompt, Rendered
from reeldrop.base.names import SIDECAR_SUFFIX
from reeldrop.base.sound import SILENT_FORMATS
from reeldrop.base.translated import TRANSLATED_FROM

MAX_BYTES = 1 << 20
_IGNORED = {
    "prompt": "ignored_text",
    "negative_prompt": "ignored_negative_text",
    "prompt_2": "ignored_text_2",
    "negative_prompt_2": "ignored_negative_text_2",
}
"""What the record calls the end of a text that was not read."""


class Found(NamedTuple):
    """What a sidecar says of its video; `settings` are all that is in it."""

    number: int
    formats: list[str]
    settings: dict[str, Any]


def text(job: Job, prompt: Prompt, rendered: Rendered) -> str:
    """Return a prompt file that renders this video again, with a record of how it was rendered."""
    block = {
        "job": job.id,
        "prompt_file": shown(job.source),
        "number": prompt.number,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": rendered.model,
        "revision": rendered.revision,
        "pipeline": rendered.pipeline,
        "scheduler": rendered.scheduler,
        "device": rendered.device,
        "dtype": rendered.dtype,
        "speed": list(rendered.speed),
        "versions": dict(rendered.versions),
        "seconds": round(rendered.seconds, 3),
        "peak_memory_mib": rendered.peak_memory_mib,
        "batch_size": rendered.batch_size,
    }
    if any(rendered.made):
        block["made"] = dict(zip(("num_frames", "height", "width"), rendered.made, strict=True))
    if rendered.profile:
        block["profile"] = dict(rendered.profile)
    if rendered.tiling:
        block["tiling"] = True
    block |= {_IGNORED[key]: end for key, end in rendered.ignored.items()}
    if rendered.not_kept:
        block["not_kept"] = rendered.not_kept
    if prompt.translated.by:
        block["translated"] = dict(prompt.translated.by)
    block |= _translated_from(prompt)
    if prompt.swept:
        block["swept"] = dict(prompt.swept)
    if prompt.pictures:
        block["pictures"] = {picture.name: picture.sha256 for picture in prompt.pictures}
    if rendered.loras:
        block["loras"] = [_without_nothing(dataclasses.asdict(lora)) for lora in rendered.loras]
    if rendered.sound is not None:
        channels, rate = len(rendered.sound.samples), rendered.sound.sampling_rate
        block["sound"] = {"channels": channels, "sampling_rate": rate}
        if silent := SILENT_FORMATS.intersection(prompt.formats):
            block["not_kept"] = f"sound, in {', '.join(sorted(silent))}: that format has none"
    if prompt.notes:
        block["notes"] = list(prompt.notes)
    return yaml_text.dump({**prompt.as_settings(), "rendered": block})


def _translated_from(prompt: Prompt) -> dict[str, str]:
    """Return the texts of which a prompt's translations are, by their names in the record."""
    originals = {**prompt.originals, **dict(prompt.translated.of)}
    keys = (key for key, _translation in prompt.translated.texts if key in originals)
    return {TRANSLATED_FROM[key]: originals[key] for key in keys}


def _without_nothing(record: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in record.items() if value not in (None, "")}


def remainder_text(prompts: list[Prompt]) -> str:
    """Return a prompt file with only these prompts, ready to be edited and dropped again.

    It has no translations that were made: they would be those of other texts then. Of those that
    were given, it says of which texts they are, as a sidecar does.
    """
    given = (dataclasses.replace(one, translated=one.translated.as_given()) for one in prompts)
    return "---\n".join(map(_left, given))


def _left(prompt: Prompt) -> str:
    of = _translated_from(prompt)
    return yaml_text.dump({**prompt.as_settings(), **({"rendered": of} if of else {})})


def found_in(folder: Path) -> list[Path]:
    """Return the files that may be sidecars, sorted."""
    with contextlib.suppress(PermissionError), os.scandir(folder) as entries:
        return sorted(
            Path(entry.path)
            for entry in entries
            if entry.name.endswith(SIDECAR_SUFFIX) and entry.is_file(follow_symlinks=False)
        )
    return []


def read(path: Path, job: Job) -> Found | None:
    """Return what a sidecar says of this job's video; None if the file is no sidecar of this job.

    Raises:
        OSError: it can't be read. If it were ignored, the video could be rendered twice.
    """
    known = (FileNotFoundError, PermissionError, YamlError, ValueError, LookupError, TypeError)
    with contextlib.suppress(*known):
        try:
            data = plain_files.content(path, MAX_BYTES)
        except OSError as error:
            if error.errno != errno.EFBIG:
                raise
            return None
        if job.id.encode() in data:
            settings = strict_yaml.plain(strict_yaml.load_all(data.decode())[0])
            if settings["rendered"]["job"] == job.id:
                number, formats = settings["rendered"]["number"], settings["format"]
                formats = [formats] if isinstance(formats, str) else formats
                if type(number) is int and formats and all(map(_is_suffix, formats)):
                    return Found(number, formats, settings)
    return None


def _is_suffix(format: object) -> bool:
    return isinstance(format, str) and format.isalnum()
