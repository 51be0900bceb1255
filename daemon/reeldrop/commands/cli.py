"""The commands: their arguments, what they print, and their exit codes.

Exit codes, after sysexits.h: 0 success; 1 a job failed (`run --drain`, `submit --wait`), or an
unexpected error; 2 usage; 75 something is unavailable now, or another process has locked the
spool; 78 the configuration is wrong.
Results go to stdout, as a table on a terminal and as tab-separated lines elsewhere; notes and
errors go to stderr. Only `run`, `check` and `tune` import torch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reeldrop.base.errors import (
    DISK_ERRORS,
    ConfigError,
    FileError,
    Mistake,
    NoSuchPromptFile,
    RendererDied,
    SpoolLocked,
    Unavailable,
)
from reeldrop.base.escaping import shown, shown_lines
from reeldrop.host import ending, process

# Imports that only some commands need are inside those, so that the others answer fast.
if TYPE_CHECKING:
    from reeldrop.commands.client import Moved
    from reeldrop.config.config import Config
    from reeldrop.store.status import Status

# Otherwise, pydantic searches every installed package for plugins at each start of a command.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_NOW = 75
EXIT_CONFIG = 78

LONGEST_UNBROKEN = 20
"""Columns with longer cells are wrapped if the terminal is too narrow for the table."""

app = typer.Typer(
    help="Drop a prompt file into a folder; get the video back in a folder.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="The config.yaml; else $REELDROP_CONFIG, ./config.yaml, /etc/reeldrop/config.yaml.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """Run a command, and exit with its code."""
    process.prepare()
    try:
        _run_command()
    except SystemExit as end:
        lost = process.close_down()
        if lost is not None and not end.code:
            _note_lost(lost)
            end.code = EXIT_FAILED
        ending.leave_threads(end)
        raise


def _note_lost(error: OSError) -> None:
    if not isinstance(error, BrokenPipeError):  # the reader has closed the pipe: no error
        _note(f"reeldrop: can't write to stdout: {error.strerror}")


def _run_command() -> None:
    """Run a command; turn errors that the user has to act on into a message and an exit code."""
    try:
        app()
    except FileError as error:
        for mistake in error.mistakes:
            _note(f"reeldrop: {mistake}")
        sys.exit(EXIT_NOT_NOW if isinstance(error, Unavailable) else EXIT_CONFIG)
    except SpoolLocked as error:
        _note(f"reeldrop: {error}")
        sys.exit(EXIT_NOT_NOW)
    except NoSuchPromptFile as error:
        _note(f"reeldrop: {error}")
        sys.exit(EXIT_USAGE)
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        _note(f"reeldrop: {problem}")
        sys.exit(EXIT_NOT_NOW if error.errno in DISK_ERRORS else EXIT_FAILED)
    except RendererDied as error:
        _note(f"reeldrop: {error}")
        sys.exit(EXIT_FAILED)


def _load(path: Path | None) -> Config:
    from reeldrop.config import config as configuration

    return configuration.load(configuration.find(path))


def _note(text: str) -> None:
    print(shown_lines(text), file=sys.stderr)


def _print_json(value: Any) -> None:
    """Print JSON on one line, with what is not printable as JSON's own escapes."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    print("".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text))


def _print_rows(rows: Iterable[Sequence[str]], headings: Sequence[str] = ()) -> None:
    """Print a table on a terminal; elsewhere, one line of tab-separated cells for each row."""
    lines = [list(map(_shown, row)) for row in rows]
    if not sys.stdout.isatty():
        for line in lines:
            print("\t".join(line))
    elif lines:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(show_header=bool(headings), box=box.SIMPLE_HEAD, pad_edge=False)
        for heading, *cells in zip(headings or lines[0], *lines, strict=True):
            is_short = max(map(len, cells)) <= LONGEST_UNBROKEN
            table.add_column(heading, overflow="fold", no_wrap=is_short)
        for line in lines:
            table.add_row(*map(Text, line))
        Console().print(table)


def _shown(text: object) -> str:
    """Return a text escaped for stdout; for programs, the bytes of file names are kept."""
    return shown(text, raw_bytes=not sys.stdout.isatty())


def _path(path: Path) -> str:
    """Return a path in full; on a terminal, relative to the current folder if it is below it."""
    with contextlib.suppress(FileNotFoundError):  # the current folder may have been deleted
        if sys.stdout.isatty() and path.is_relative_to(Path.cwd()):
            return str(path.relative_to(Path.cwd()))
    return str(path)


def _local(iso: str) -> str:
    """Return an ISO 8601 time as local time; any other text unchanged."""
    try:
        return f"{datetime.fromisoformat(iso).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):
        return iso


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"reeldrop {version('reeldrop')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version, and end."
        ),
    ] = False,
) -> None:
    """Drop a prompt file into a folder; get the video back in a folder."""


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to begin.")] = Path("."),
) -> None:
    """Write a commented config.yaml, and make the folders that it names."""
    from reeldrop.base import durable
    from reeldrop.config import config as configuration

    path = folder / configuration.NAME
    try:
        if os.path.lexists(path):
            raise FileExistsError
        settings = configuration.parse(configuration.template(), path)
        for made in (settings.inbox, settings.results, settings.spool):
            durable.make_folder(made)
        # Written last: where config.yaml exists, so do the folders.
        durable.write_new(path, configuration.template().encode(), durable.command_owner())
    except FileExistsError:
        _note(f"reeldrop: {path} is there already; it is left as it is")
        raise typer.Exit(EXIT_USAGE) from None
    print(f"Wrote {path}. Next, run this, and put a text file with a prompt on each line into")
    print(f"{settings.inbox}:\n\n    reeldrop run --config {shlex.quote(str(path))}")


@app.command()
def run(
    config: ConfigOption = None,
    drain: Annotated[
        bool, typer.Option("--drain", help="End when every prompt file is done.")
    ] = False,
) -> None:
    """Render what is put into the inbox, until stopped."""
    is_attended = sys.stdin.isatty()
    process.withstand()
    from reeldrop.commands import check, progress
    from reeldrop.host import log

    check.require_folders(_load(config))
    with progress.shown(sys.stdout.isatty()) as observe:
        log.to_stdout()
        from reeldrop.config import profiles, settings
        from reeldrop.render import pipeline, renderer
        from reeldrop.service import service  # imports torch: takes seconds

        def read() -> tuple[Config, str]:
            found = _load(config)
            return found, found.selected_model(cuda=pipeline.cuda_is_available())

        outcome = service.Service(
            settings.Settings(read),
            lambda found, tell: renderer.InProcessRenderer(profiles.sources(found), tell),
            drain=drain,
            is_attended=is_attended,
            observe=observe,
        ).run()
    if drain and outcome.failed_jobs:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def tune(
    model: Annotated[
        str, typer.Option(metavar="PROFILE", help="The profile; else the daemon's own.")
    ] = "",
    rounds: Annotated[
        int, typer.Option(min=1, max=100, help="How often each way is timed; the least counts.")
    ] = 3,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find out which ways to render are fastest here, and let the daemon use them."""
    from reeldrop.commands import check
    from reeldrop.host import log

    settings = _load(config)
    check.require_folders(settings)
    log.configure(sys.stderr, for_people=True)
    from reeldrop.config import profiles
    from reeldrop.render import pipeline
    from reeldrop.store.lock import TUNER
    from reeldrop.store.spool import Spool
    from reeldrop.tune import tuned, tuning  # imports torch: takes seconds

    name = model or settings.selected_model(cuda=pipeline.cuda_is_available())
    if name not in settings.models:
        raise typer.BadParameter(f"there is no profile '{name}' under models in config.yaml")
    with Spool(settings.spool, settings.inbox, settings.failed).lock(role=TUNER):
        trials = []
        tuner = tuning.Tuner(*profiles.to_tune(name, settings), rounds)
        for trial in tuner.trials():
            _note(f"{trial.what}: {trial.verdict}")
            trials.append(trial)
        finding = tuned.Finding(profiles.basis(tuner.source), tuner.speed, tuner.batch_size)
        file = tuned.note(settings.spool, name, finding)
    if as_json:
        _print_json({"model": name, "trials": list(map(dataclasses.asdict, trials)), "file": file})
        return
    _print_rows((t.cells for t in trials), ("way", "seconds", "times as fast", "PSNR", "SSIM", ""))
    print(f"{name} is rendered like this from the daemon's next start on: {file}")


@app.command()
def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check whether config, folders, device and model work."""
    from reeldrop.commands import check as checks
    from reeldrop.config import config as configuration

    path = configuration.find(config)
    settings = configuration.load(path)
    rows = [checks.Row("config", True, str(path.absolute())), *checks.folders(settings)]
    if all(row.ok for row in rows if row.what == "inbox"):
        rows += checks.share(settings)
    rows += checks.synced(settings)
    rows += [checks.room(settings), *checks.machine(settings)]
    if as_json:
        _print_json([dataclasses.asdict(row) for row in rows])
    else:
        _print_rows(("ok" if row.ok else "NO", row.what, row.detail) for row in rows)
    wrong = [row for row in rows if not row.ok]
    if wrong:
        raise typer.Exit(EXIT_NOT_NOW if all(row.may_pass for row in wrong) else EXIT_CONFIG)


@app.command()
def submit(
    prompt: Annotated[str, typer.Argument(help="What to film.")],
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="E.g. num_frames=24.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow it until the video is there.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a prompt file into the inbox, and say where the video will be."""
    from reeldrop.commands import client, progress

    if not prompt.strip():
        raise typer.BadParameter("the prompt is empty; write what to film")
    settings = _load(config)
    order = client.submit(settings, prompt, _parsed(setting or []))
    if not as_json:
        print(f"{_shown(order.prompt_file)}\nwill be {_shown(order.video)}", flush=True)
    if not wait:
        if as_json:
            _print_json({"prompt_file": order.prompt_file, "video": order.video})
        return
    with progress.shown(sys.stdout.isatty() and not as_json) as observe:
        try:
            end = client.wait(settings, order, progress.with_trouble(observe, _note))
        except KeyboardInterrupt:
            name = shlex.quote(str(order.source))
            _note(f"it will be rendered all the same; `reeldrop cancel {name}` cancels it")
            raise
    if as_json:
        _print_json({"prompt_file": order.prompt_file, "videos": end.videos, "error": end.error})
    else:
        for file in end.videos:
            print(_shown(file))
        if end.error:
            _note(end.error)
    if end.error:
        raise typer.Exit(EXIT_FAILED)


def _parsed(assignments: list[str]) -> dict[str, object]:
    settings: dict[str, object] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        key = name.strip()
        if not equals or not key:
            raise typer.BadParameter(f"'{assignment}' is not KEY=VALUE")
        if key in settings or key == "prompt":
            raise typer.BadParameter(f"{key} is given twice")
        settings[key] = _value(value)
        if settings[key] is None:
            raise typer.BadParameter(f"{key} has no value")
    return settings


def _value(text: str) -> object:
    """Return the value of a setting as YAML; a text that YAML would take apart stays whole."""
    from reeldrop.base import strict_yaml
    from reeldrop.base.errors import YamlError

    try:
        documents = strict_yaml.load_all(f"value: {text}")
    except YamlError:  # mostly a text with a colon in it
        return text
    except UnicodeEncodeError:
        raise typer.BadParameter(f"{_shown(text)} has bytes that are not UTF-8") from None
    found: Any = strict_yaml.plain(documents[0])
    has_comment = " #" in text and not text.lstrip().startswith(("'", '"', "[", "{"))
    return text if len(documents) > 1 or len(found) > 1 or has_comment else found["value"]


@app.command()
def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show what is being rendered, and what waits and why."""
    from reeldrop.commands import client

    settings = _load(config)
    now = client.status(settings)
    if as_json:
        _print_json(dataclasses.asdict(now))
        return
    print(_shown(now.said()))
    doubt = client.doubt(settings)
    if doubt:
        print(f"  {_shown(doubt)}")
    if now.refused:
        refused = _shown(now.refused)
        print(f"  config.yaml was refused, and the settings stay as they were: {refused}")
    _print_waiting_and_rendering(now)


def _print_waiting_and_rendering(now: Status) -> None:
    if now.rendering is not None:
        r = now.rendering
        eta = "" if r.eta_seconds is None else f", about {r.eta_seconds:.0f} s left"
        print(f"  {_shown(r.prompt_file)} {r.number}/{r.count}: {_shown(r.prompt)}")
        print(f"  step {r.step}/{r.steps}{eta}")
    _print_rows([(w.prompt_file, w.reason) for w in now.waiting], ("waiting", "why"))
    if now.waiting_seconds >= 60:
        _note(f"the first has been in the inbox for {now.waiting_seconds // 60} min")
    if now.waiting_count > len(now.waiting):
        _note(f"{now.waiting_count - len(now.waiting)} more are waiting")


@app.command()
def history(
    config: ConfigOption = None,
    failed: Annotated[bool, typer.Option("--failed", help="Show what failed, and why.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many, at most.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the videos, newest first."""
    settings = _load(config)
    if failed:
        _print_failures(settings, limit, as_json)
    else:
        _print_videos(settings, limit, as_json)


def _print_videos(settings: Config, limit: int, as_json: bool) -> None:
    from reeldrop.store import history as past

    videos = past.videos(settings.results, settings.failed, limit)
    if as_json:
        _print_json([dataclasses.asdict(video) for video in videos])
        return
    headings = ("video", "prompt", "model", "seconds", "finished")
    _print_rows(
        (
            (_path(v.files[0]), v.prompt, v.model, f"{v.seconds:.1f}", _local(v.finished))
            for v in videos
        ),
        headings,
    )
    count = past.count(settings.results, settings.failed) if len(videos) == limit else len(videos)
    _note_what_is_left_out(len(videos), count, "videos", "history")


def _print_failures(settings: Config, limit: int, as_json: bool) -> None:
    from reeldrop.commands import client

    failures = client.failures(settings)
    if as_json:
        _print_json([dataclasses.asdict(failure) for failure in failures[:limit]])
        return
    rows = ((f.name, f.reason, _local(f.failed)) for f in failures[:limit])
    _print_rows(rows, ("prompt file", "what is wrong", "when"))
    _note_what_is_left_out(
        min(limit, len(failures)), len(failures), "failed prompt files", "history --failed"
    )


def _note_what_is_left_out(listed: int, count: int, what: str, command: str) -> None:
    if not count:
        _note(f"there are no {what}")
    elif count > listed:
        _note(f"{count - listed} more; `reeldrop {command} --limit {count}` shows all {what}")


@app.command()
def retry(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME...", help="As `history --failed` shows it, or its file name alone."
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every prompt file that failed.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put prompt files that failed back into the inbox."""
    from reeldrop.commands import client

    settings = _load(config)
    if bool(names) == all_:
        raise typer.BadParameter("name prompt files as `reeldrop history --failed` does, or --all")
    moved = client.retry(settings, names or None)
    _report_moves(moved, as_json, "there is nothing to retry")


@app.command()
def cancel(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="As `status` shows it, or its file name alone."),
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel prompt files that wait or are being rendered; they are set aside in _failed."""
    from reeldrop.commands import client

    _report_moves(client.cancel(_load(config), names), as_json, "")


@app.command()
def reload(config: ConfigOption = None) -> None:
    """Let the daemon read config.yaml again; it is used as soon as no job is being rendered."""
    from reeldrop.commands import client
    from reeldrop.config import config as configuration

    path = configuration.find(config)
    refused = client.reload(configuration.load(path))
    if refused:
        raise ConfigError(Mistake(refused, file=str(path)))


def _report_moves(moved: Sequence[Moved], as_json: bool, nothing: str) -> None:
    if as_json:
        _print_json([dataclasses.asdict(one) for one in moved])
    else:
        for one in moved:
            where = f", as {one.file}" if one.file else ""
            print(_shown(f"{one.name}: {one.what}{where}"))
        if not moved:
            print(nothing)
    if any(one.is_failure for one in moved):
        raise typer.Exit(EXIT_FAILED)
