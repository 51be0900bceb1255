"""`reeldrop submit`: write a prompt file into the inbox; with --wait, follow it to its end."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from reeldrop.base import durable, strict_yaml, temporaries, yaml_text
from reeldrop.base.errors import PromptError, WrongUsage, YamlError
from reeldrop.base.escaping import shown
from reeldrop.base.names import ERROR_SUFFIX, PICTURES_SUFFIX, folder_name, portable, video_name
from reeldrop.base.sweeps import SWEEPS
from reeldrop.base.trouble import is_there
from reeldrop.commands import exit_codes, folders, output, progress, submitted_pictures, typed
from reeldrop.commands.status import current
from reeldrop.commands.submitted_pictures import Pictures
from reeldrop.store import described, history, reports
from reeldrop.store import status as status_file
from reeldrop.store.results import Results

if TYPE_CHECKING:
    from reeldrop.base.job import Prompt
    from reeldrop.config.config import Config
    from reeldrop.prompts.rules import ModelRules
    from reeldrop.store.status import Status

POLL_SECONDS = 0.2

_CHECKED = PurePosixPath("submitted.yaml")
"""The name of a prompt file that is only checked."""


@dataclass(frozen=True, slots=True)
class Order:
    """A prompt file that `submit` put into the inbox, and where its first video will be."""

    source: PurePosixPath
    prompt_file: Path
    video: Path


@dataclass(frozen=True, slots=True)
class End:
    """The outcome of an order: the files of its videos, and the error; empty if there is none."""

    videos: tuple[Path, ...]
    error: str


def submit_prompt(
    config: Config,
    prompt: str,
    settings: Mapping[str, object],
    pictures: Pictures = MappingProxyType({}),
    *,
    checks: bool,
    waits: bool,
    as_json: bool,
) -> int:
    """Submit a prompt, print where its video will be, and return the exit code.

    pictures: files to copy into the inbox, by key
    checks: refuse what the profile does not allow, if that is known without a pipeline
    waits: follow the prompt file until it has ended, and print the files of its videos

    Raises:
        WrongUsage: the daemon would refuse the prompt or its settings.
    """
    found: tuple[Prompt, ...] | None = None
    if checks:
        named = submitted_pictures.names(_CHECKED, pictures)
        found = _checked(config, prompt, {**settings, **named})
        for note in dict.fromkeys(note for one in found or () for note in one.notes):
            output.note(typed.in_words(note))
    count = len(found) if found else None
    formats: tuple[str, ...] = found[0].formats if found else ()
    order = write_order(config, prompt, settings, pictures, formats)
    is_sweep = not settings.keys().isdisjoint(SWEEPS)  # what its first video shows may be drawn
    place = order.video.parent if is_sweep else order.video
    if not as_json:
        videos = f"{count} videos in " if count and is_sweep else ""
        printable = output.printable
        print(f"{printable(order.prompt_file)}\nwill be {videos}{printable(place)}", flush=True)
    elif not waits:
        output.print_json({"prompt_file": order.prompt_file, "video": place, "count": count})
    return _follow(config, order, as_json=as_json) if waits else 0


def _follow(config: Config, order: Order, *, as_json: bool) -> int:
    """Wait until an order has ended, print what became of it, and return the exit code."""
    with progress.bar_of_status(sys.stdout.isatty() and not as_json) as observe:
        try:
            telling = progress.with_trouble(observe, output.note, shown(order.source))
            end = wait(config, order, telling)
        except KeyboardInterrupt:
            name = shlex.quote(str(order.source))
            output.note(f"it will still be rendered; `reeldrop cancel {name}` cancels it")
            raise
    if as_json:
        answer = {"prompt_file": order.prompt_file, "videos": end.videos, "error": end.error}
        output.print_json(answer)
    else:
        for file in end.videos:
            print(output.printable(file))
        if end.error:
            output.note(end.error)
    return exit_codes.FAILED if end.error else 0


def only_prompt(prompt: str, others: Sequence[str]) -> str:
    """Return the prompt.

    Raises:
        WrongUsage: it is empty, or there are other arguments: its other words.
    """
    if others:
        whole = shlex.quote(" ".join((prompt, *others)))
        raise WrongUsage(f"put the prompt between quotes: reeldrop submit {whole}")
    if not prompt.strip():
        raise WrongUsage("the prompt is empty; write what to film")
    return prompt


def _checked(
    config: Config, prompt: str, settings: Mapping[str, object]
) -> tuple[Prompt, ...] | None:
    """Return the prompts that the daemon will render; raise WrongUsage for what it would refuse.

    Checked by the same rules, with the `_defaults.yaml` of the inbox. A pipeline that was never
    loaded by a daemon is not known: its keys are left to the daemon, and None is returned.
    """
    from reeldrop.prompts import parsing
    from reeldrop.prompts.parsing import NotDescribed

    name = _CHECKED
    text = yaml_text.dump({"prompt": prompt, **settings})
    try:
        defaults = folders.scanned_inbox(config).defaults_for(name, parsing.MAX_DEFAULTS_BYTES)
        model = model_of_daemon(config)
        rules = {model: None, **known_rules(config)}
        data = text.encode()
        return parsing.parse(name.name, data, defaults, rules, model, lambda number: number).prompts
    except PromptError as error:
        lines = (line for mistake in error.mistakes for line in typed.lines(mistake))
        raise WrongUsage("\n".join(lines)) from None
    except (NotDescribed, OSError):
        return None


def known_rules(config: Config) -> dict[str, ModelRules | None]:
    """Return what prompts may ask of each profile; None if no daemon has loaded it so far."""
    from reeldrop.prompts.rules import ModelRules

    found: dict[str, ModelRules | None] = dict.fromkeys(config.models)
    for name, profile in config.models.items():
        capabilities = described.read(config.spool, name, profile.origin)
        if capabilities is not None:
            found[name] = ModelRules(name, capabilities, **config.allowed(name))
    return found


def model_of_daemon(config: Config) -> str:
    """Return the profile for prompts that name none; `auto` if only the daemon knows which."""
    report = status_file.read(config.spool / status_file.FILE_NAME)
    is_known = report is not None and report.model in config.models
    return report.model if config.model == "auto" and report and is_known else config.model


def parsed(assignments: Iterable[str]) -> dict[str, object]:
    """Return the settings of each `--set KEY=VALUE`.

    Raises:
        WrongUsage: one has no key, no value, or a key that is given already.
    """
    settings: dict[str, object] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        key = name.strip()
        if not equals or not key:
            raise WrongUsage(f"'{assignment}' is not KEY=VALUE")
        if key in settings or key == "prompt":
            raise WrongUsage(f"{key} is given twice")
        settings[key] = value(text)
        if settings[key] is None:
            raise WrongUsage(f"{key} has no value")
    return settings


def value(text: str) -> object:
    """Return the value of a setting as YAML; a text that YAML would take apart stays whole."""
    try:
        documents = strict_yaml.load_all(f"value: {text}")
    except YamlError:  # mostly a text with a colon in it
        return text
    except UnicodeEncodeError:
        raise WrongUsage(f"{output.printable(text)} has bytes that are not UTF-8") from None
    found: Any = strict_yaml.plain(documents[0])
    has_comment = " #" in text and not text.lstrip().startswith(("'", '"', "[", "{"))
    return text if len(documents) > 1 or len(found) > 1 or has_comment else found["value"]


def write_order(
    config: Config,
    prompt: str,
    settings: Mapping[str, object],
    pictures: Pictures = MappingProxyType({}),
    formats: Sequence[str] = (),
) -> Order:
    """Write a prompt file into the inbox atomically, under an unused name, after its pictures.

    formats: of its videos; empty if it is not known what the settings leave to defaults

    Raises:
        Unavailable: there is no inbox.
    """
    folders.require_inbox(config)
    results = Results(config.results)
    stem = folder_name(video_name(prompt.lstrip(" -")))  # no command takes `-x.yaml` as a NAME
    for source in _unused_names(config, stem):
        prompt_file = config.inbox / source
        named, owner = submitted_pictures.names(source, pictures), temporaries.command_owner()
        text = yaml_text.dump({"prompt": prompt, **named, **settings})
        try:
            with submitted_pictures.put_beside(prompt_file, pictures, owner):
                durable.write_new(prompt_file, text.encode(), owner)
        except FileExistsError:
            continue
        temporaries.remove_left(config.inbox, prompt_file)
        given = formats or settings.get("format", "mp4")
        suffix = given[0] if isinstance(given, list | tuple) and given else given
        video = results.folder_for(source) / f"{results.video_name(source, prompt)}.{suffix}"
        return Order(source, prompt_file, video)
    raise AssertionError("free_names never ends")


def _unused_names(config: Config, stem: str) -> Iterator[PurePosixPath]:
    """Yield names for a prompt file that no job, result or entry in `_failed/` has."""
    in_hand = {job.source for job in folders.spool_of(config).unfinished()}
    for name in durable.free_names(f"{stem}.yaml"):
        source = portable(PurePosixPath(name))
        left = (
            Results(config.results).folder_for(source),
            config.failed / source,
            config.failed / f"{source}{ERROR_SUFFIX}",
            config.failed / f"{source}{PICTURES_SUFFIX}",
        )
        if source not in in_hand and not any(map(is_there, left)):
            yield source


def wait(config: Config, order: Order, observe: Callable[[Status], None]) -> End:
    """Wait until an order has ended; call `observe` with the daemon's status at each poll."""
    own = set[str]()
    while not _has_ended(config, order, own):
        observe(current(config))
        time.sleep(POLL_SECONDS)
    folder = Results(config.results).folder_for(order.source)
    newest_first = history.videos(folder, config.failed, limit=1000)
    if own:
        newest_first = [video for video in newest_first if video.job_id in own]
    videos = tuple(file for video in reversed(newest_first) for file in video.files)
    error = _report(config, order, own)
    if not videos and not error:
        error = f"{order.source} went away before it was rendered"
    return End(videos, error)


def _has_ended(config: Config, order: Order, own: set[str]) -> bool:
    """Return whether a prompt file has left the inbox and then the spool.

    Adds the ids of its jobs to `own`.
    """
    if order.prompt_file.exists():
        return False
    unfinished = folders.spool_of(config).unfinished()
    jobs = [job.id for job in unfinished if job.source == order.source]
    own.update(jobs)
    return not jobs


def _report(config: Config, order: Order, own: set[str]) -> str:
    """Return the text of the `.error.txt` of an order; empty if there is none.

    No report had this name when the order was made. If the order's jobs are known, only their
    reports count: another file of that name may have been dropped since.
    """
    for name in durable.free_names(order.source.name):
        report = config.failed / f"{name}{ERROR_SUFFIX}"
        if not is_there(report):
            return ""
        text = reports.read(report)
        if text and (not own or any(f"Job {job_id}" in text for job_id in own)):
            return text
    raise AssertionError("free_names never ends")
