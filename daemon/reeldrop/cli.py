"""The commands, their output and their exit codes.

Exit codes: 0; 1 a job failed (`run --drain`, `submit --wait`), or something unexpected; 2 usage;
75 what is needed is not there now, or another daemon works on the spool; 78 the configuration is
wrong (sysexits.h).
Only `run` and `check` import torch.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reeldrop.errors import (
    DISK_ERRORS,
    ConfigError,
    FileError,
    Mistake,
    NoSuchPromptFile,
    RendererDied,
    SpoolLocked,
    Unavailable,
)

# What only some commands need is imported by them: a prompt answer is worth the odd look.
if TYPE_CHECKING:
    from rich.console import Console

    from reeldrop.config import Config

# Pydantic would look through every installed package for plugins, at each start of a command.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_NOW = 75
EXIT_CONFIG = 78

app = typer.Typer(
    help="Drop a prompt file into a folder; get the video back in a folder.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The config.yaml; else $REELDROP_CONFIG, ./config.yaml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def main() -> None:
    """Run a command, and turn errors that a person has to act on into a text and a code."""
    try:
        app()
    except FileError as error:
        for mistake in error.mistakes:
            print(f"reeldrop: {mistake}", file=sys.stderr)
        sys.exit(EXIT_NOT_NOW if isinstance(error, Unavailable) else EXIT_CONFIG)
    except SpoolLocked as error:
        print(f"reeldrop: {error}", file=sys.stderr)
        sys.exit(EXIT_NOT_NOW)
    except NoSuchPromptFile as error:
        print(f"reeldrop: {error}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    except (OSError, RendererDied) as error:
        print(f"reeldrop: {error}", file=sys.stderr)
        may_pass = isinstance(error, OSError) and error.errno in DISK_ERRORS
        sys.exit(EXIT_NOT_NOW if may_pass else EXIT_FAILED)


def _load(path: Path | None) -> Config:
    from reeldrop import config as configuration

    return configuration.load(configuration.find(path))


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, default=str))


def _console() -> Console:
    from rich.console import Console

    # Without a terminal, paths must not be cut to fit 80 columns: they are there to be copied.
    return Console(width=None if sys.stdout.isatty() else 2000)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to begin.")] = Path("."),
) -> None:
    """Write a commented config.yaml, and make the folders that it names."""
    from reeldrop import config as configuration

    path = folder / configuration.NAME
    if path.exists():
        print(f"reeldrop: {path} is there already; it is left as it is", file=sys.stderr)
        raise typer.Exit(EXIT_USAGE)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(configuration.template(), encoding="utf-8")
    settings = configuration.load(path)
    for made in (settings.inbox, settings.results, settings.spool):
        made.mkdir(parents=True, exist_ok=True)
    print(f"Wrote {path}.\nNext: reeldrop run --config {path}, and put a text file with a prompt")
    print(f"on each line into {settings.inbox}.")


@app.command()
def run(
    config: ConfigOption = None,
    drain: Annotated[bool, typer.Option(help="End when every prompt file is done.")] = False,
) -> None:
    """Render what is put into the inbox, until stopped."""
    from reeldrop import check, log, progress

    check.require_folders(_load(config))
    with progress.shown(sys.stdout.isatty()) as observe:
        log.to_stdout()
        from reeldrop import pipeline, profiles, renderer, service, settings  # torch: seconds

        def read() -> tuple[Config, str]:
            found = _load(config)
            return found, found.selected_model(cuda=pipeline.cuda_is_available())

        outcome = service.Service(
            settings.Settings(read),
            lambda found, tell: renderer.InProcessRenderer(profiles.sources(found), tell),
            drain=drain,
            is_attended=sys.stdin.isatty(),
            observe=observe,
        ).run()
    if drain and outcome.failed_jobs:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Try whether config, folders, device and model work."""
    from rich.markup import escape
    from rich.table import Table

    from reeldrop import check as checks
    from reeldrop import config as configuration

    path = configuration.find(config)
    settings = configuration.load(path)
    rows = [checks.Row("config", True, str(path.absolute())), *checks.folders(settings)]
    rows += checks.machine(settings)
    if as_json:
        _print_json([dataclasses.asdict(row) for row in rows])
    else:
        table = Table("", "", "")
        for row in rows:
            table.add_row("[green]ok[/]" if row.ok else "[red]NO[/]", row.what, escape(row.detail))
        _console().print(table)
    if not all(row.ok for row in rows):
        raise typer.Exit(EXIT_CONFIG)


@app.command()
def submit(
    prompt: Annotated[str, typer.Argument(help="What to film.")],
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="E.g. num_frames=24.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Follow it until the video is there.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a prompt file into the inbox, and say where the video will be."""
    from reeldrop import client, progress

    settings = _load(config)
    order = client.submit(settings, prompt, _parsed(setting or []))
    if not as_json:
        print(f"{order.prompt_file}\nwill be {order.video}", flush=True)
    if not wait:
        if as_json:
            _print_json({"prompt_file": order.prompt_file, "video": order.video})
        return
    with progress.shown(sys.stdout.isatty() and not as_json) as observe:
        end = client.wait(settings, order, observe)
    if as_json:
        _print_json({"prompt_file": order.prompt_file, "videos": end.videos, "error": end.error})
    else:
        print("\n".join(map(str, end.videos)) if end.videos else end.error)
    if end.error:
        raise typer.Exit(EXIT_FAILED)


def _parsed(assignments: list[str]) -> dict[str, object]:
    from reeldrop import strict_yaml
    from reeldrop.errors import YamlError

    settings: dict[str, object] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"'{assignment}' is not KEY=VALUE")
        try:
            documents = strict_yaml.load_all(f"value: {value}")
            settings[key.strip()] = strict_yaml.plain(documents[0])["value"]
        except YamlError:  # a colon in a text, mostly
            settings[key.strip()] = value
    return settings


@app.command()
def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show what is being rendered, and what waits and why."""
    from reeldrop import client

    now = client.status(_load(config))
    if as_json:
        _print_json(dataclasses.asdict(now))
        return
    console = _console()
    console.print(now.state, highlight=False, markup=False)
    if now.rendering is not None:
        r = now.rendering
        eta = "" if r.eta_seconds is None else f", about {r.eta_seconds:.0f} s left"
        console.print(f"  {r.prompt_file} {r.number}/{r.count}: {r.prompt}", markup=False)
        console.print(f"  step {r.step}/{r.steps}{eta}", markup=False)
    if now.waiting_count:
        from rich.markup import escape
        from rich.table import Table

        table = Table("waiting", "why", title=f"{now.waiting_count} waiting")
        for waiting in now.waiting:
            table.add_row(escape(waiting.prompt_file), waiting.reason)
        console.print(table)


@app.command()
def history(
    config: ConfigOption = None,
    failed: Annotated[bool, typer.Option(help="Show what failed, and why.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many, at most.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the videos, newest first."""
    from rich.markup import escape
    from rich.table import Column, Table

    from reeldrop import history as past

    settings = _load(config)
    if failed:
        failures = past.failures(settings.failed)[:limit]
        if as_json:
            _print_json([dataclasses.asdict(failure) for failure in failures])
            return
        table = Table(Column("prompt file", overflow="fold"), "what is wrong", "when")
        for failure in failures:
            when = datetime.fromtimestamp(failure.failed)
            name, reason = escape(failure.name), escape(failure.reason)
            table.add_row(name, reason, f"{when:%Y-%m-%d %H:%M:%S}")
    else:
        videos = past.videos(settings.results, settings.failed, limit)
        if as_json:
            _print_json([dataclasses.asdict(video) for video in videos])
            return
        table = Table(Column("video", overflow="fold"), "prompt", "model", "seconds", "finished")
        for video in videos:
            cells = (escape(str(video.file)), escape(video.prompt), escape(video.model))
            table.add_row(*cells, f"{video.seconds:.1f}", video.finished)
    _console().print(table)


@app.command()
def retry(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME...")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every prompt file that failed.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put prompt files that failed back into the inbox."""
    from reeldrop import client

    settings = _load(config)
    if bool(names) == all_:
        raise typer.BadParameter("name prompt files as `reeldrop history --failed` does, or --all")
    moved = client.retry(settings, names or None)
    _report_moves(moved, as_json, "there is nothing to retry")


@app.command()
def cancel(
    names: Annotated[list[str], typer.Argument(metavar="NAME...")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel prompt files that wait or are being rendered; they are set aside in _failed."""
    from reeldrop import client

    _report_moves(client.cancel(_load(config), names), as_json, "")


@app.command()
def reload(config: ConfigOption = None) -> None:
    """Let the daemon read config.yaml again; it is used as soon as no job is being rendered."""
    from reeldrop import client
    from reeldrop import config as configuration

    path = configuration.find(config)
    refused = client.reload(configuration.load(path))
    if refused:
        raise ConfigError(Mistake(refused, file=str(path)))


def _report_moves(moved: dict[PurePosixPath, str], as_json: bool, nothing: str) -> None:
    if as_json:
        _print_json({str(name): what for name, what in moved.items()})
    else:
        print("\n".join(f"{name}: {what}" for name, what in moved.items()) or nothing)
