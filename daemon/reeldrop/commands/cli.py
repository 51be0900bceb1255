"""The commands' arguments. What each does is in its own module.

Only `run`, `check`, `tune` and `models` import torch.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from reeldrop.base.errors import ConfigError, Mistake, ReeldropError, WrongUsage
from reeldrop.commands import errors

# Imports that only some commands need are inside those, so that the others answer fast.
if TYPE_CHECKING:
    from reeldrop.config.config import Config

# Otherwise, pydantic searches every installed package for plugins at each start of a command.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

app = typer.Typer(
    help="Drop a prompt file into a folder; get the video back in a folder.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="The config.yaml, or its folder; else $REELDROP_CONFIG, ./config.yaml, "
        "/etc/reeldrop/config.yaml.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """Run a command, and exit with its code."""
    errors.run(app)


def _load(path: Path | None) -> Config:
    from reeldrop.commands import folders

    return folders.load_beside_daemon(path)[0]


def _failed_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names that a shell may complete for `retry`; none if that isn't possible."""
    from reeldrop.commands import folders

    with contextlib.suppress(ReeldropError, OSError):
        config = folders.load(ctx.params.get("config"))
        failures = folders.failures(config.failed, config)
        return [failure.name for failure in failures if failure.name.startswith(incomplete)]
    return []


def _waiting_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names that a shell may complete for `cancel`; none if that isn't possible."""
    from reeldrop.commands import folders
    from reeldrop.commands.cancel import in_hand_and_waiting

    with contextlib.suppress(ReeldropError, OSError):
        in_hand, waiting = in_hand_and_waiting(folders.load(ctx.params.get("config")))
        return [name for name in (*in_hand, *waiting) if name.startswith(incomplete)]
    return []


def _end(code: int) -> None:
    if code:
        raise typer.Exit(code)


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
    from reeldrop.commands.init import write_config

    _end(write_config(folder))


@app.command()
def run(
    config: ConfigOption = None,
    drain: Annotated[
        bool, typer.Option("--drain", help="End when every prompt file is done.")
    ] = False,
) -> None:
    """Render what is put into the inbox, until stopped."""
    from reeldrop.commands.run import run_daemon

    _end(run_daemon(config, drain=drain))


@app.command()
def tune(
    model: Annotated[
        str, typer.Option(metavar="PROFILE", help="The profile; else the daemon's own.")
    ] = "",
    rounds: Annotated[
        int, typer.Option(min=1, max=100, help="How often each way is timed; the shortest counts.")
    ] = 3,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find out which settings render fastest here, and let the daemon use them."""
    from reeldrop.commands import folders
    from reeldrop.commands.tune import find_fastest
    from reeldrop.config.config import placing

    with placing(config):
        find_fastest(folders.load(config), model, rounds, as_json=as_json)


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="A prompt file; else the machine.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check whether config, folders, device and model work, or what a prompt file asks for."""
    from reeldrop.commands.check import check_all

    _end(check_all(config, file, as_json=as_json))


@app.command()
def models(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the models: what fits on this machine, what is downloaded, their licences."""
    from reeldrop.commands.models import list_models

    list_models(_load(config), as_json=as_json)


@app.command()
def pull(
    model: Annotated[str, typer.Argument(metavar="PROFILE", help="One that `models` lists.")],
    newest: Annotated[
        bool, typer.Option("--newest", help="Take what the repository has today.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Download a model's files, or continue a download that broke off."""
    from reeldrop.commands.pull import pull_model
    from reeldrop.config.config import placing

    with placing(config):
        pull_model(_load(config), model, newest=newest)


class _SubmitCommand(TyperCommand):
    """Explains what to do with a prompt that begins with a dash, like an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        options = tuple(option for parameter in self.params for option in parameter.opts)
        for given in itertools.takewhile(lambda argument: argument != "--", args):
            if given.startswith("-") and " " in given and not given.startswith(options):
                prompt = shlex.quote(given)
                raise WrongUsage(
                    f"a prompt that begins with a dash goes after `--`: reeldrop submit -- {prompt}"
                )
        return super().parse_args(ctx, args)


@app.command(cls=_SubmitCommand, context_settings={"allow_extra_args": True})
def submit(
    ctx: typer.Context,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to film, between quotes.")],
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="E.g. num_frames=24.")
    ] = None,
    image: Annotated[Path | None, typer.Option(help="A picture to begin with.")] = None,
    last_image: Annotated[Path | None, typer.Option(help="A picture to end with.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow it until the video is there.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a prompt file into the inbox, and say where the video will be."""
    from reeldrop.commands import folders
    from reeldrop.commands.submit import only_prompt, parsed, submit_prompt
    from reeldrop.commands.submitted_pictures import given

    text, settings = only_prompt(prompt, ctx.args), parsed(setting or [])
    pictures = given(settings, {"image": image, "last_image": last_image})
    found, is_whole = folders.load_beside_daemon(config)
    _end(
        submit_prompt(found, text, settings, pictures, checks=is_whole, waits=wait, as_json=as_json)
    )


@app.command()
def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show what is being rendered, and what waits and why."""
    from reeldrop.commands.status import show_status

    show_status(_load(config), as_json=as_json)


@app.command()
def top(config: ConfigOption = None) -> None:
    """Show the same live, with keys to pause, cancel, raise and retry."""
    from reeldrop.commands.top import show

    _end(show(_load(config)))


@app.command()
def history(
    config: ConfigOption = None,
    failed: Annotated[bool, typer.Option("--failed", help="Show what failed, and why.")] = False,
    cleared: Annotated[
        bool, typer.Option("--cleared", help="Show what failed, and was rendered since.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many, at most.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the videos, newest first."""
    from reeldrop.commands.history import list_cleared, list_failures, list_videos

    if failed and cleared:
        raise WrongUsage("--failed and --cleared are two lists: ask for one of them")
    list_them = list_failures if failed else list_cleared if cleared else list_videos
    list_them(_load(config), limit, as_json=as_json)


@app.command()
def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Videos or posters.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what files claim of their origin, whether a signature holds, and which are ours."""
    from reeldrop.commands.verify import verify_files

    found = None
    with contextlib.suppress(ConfigError):
        found = _load(config)
    _end(verify_files(found, files, as_json=as_json))


@app.command()
def retry(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="As `history --failed` shows it, or its file name alone.",
            autocompletion=_failed_names,
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every prompt file that failed.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put prompt files that failed back into the inbox."""
    from reeldrop.commands import moved
    from reeldrop.commands.retry import put_back

    settings = _load(config)
    if bool(names) == all_:
        raise WrongUsage("name prompt files as `reeldrop history --failed` does, or --all")
    done = put_back(settings, names or None)
    _end(moved.report(done, as_json=as_json, if_none="there is nothing to retry"))


@app.command()
def cancel(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME",
            help="As `status` shows it, or its file name alone.",
            autocompletion=_waiting_names,
        ),
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel prompt files that wait or are being rendered; they are set aside in _failed."""
    from reeldrop.commands import moved
    from reeldrop.commands.cancel import cancel_files

    _end(moved.report(cancel_files(_load(config), names), as_json=as_json))


@app.command()
def notify(
    once: Annotated[
        bool, typer.Option("--once", help="Tell what has happened by now, and end.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Tell others what happens: messages, programs, metrics, as config.yaml says."""
    from reeldrop.commands.notify import notify_all

    _end(notify_all(_load(config), is_once=once))


@app.command()
def reload(config: ConfigOption = None) -> None:
    """Let the daemon read config.yaml again; it is used as soon as no job is being rendered."""
    from reeldrop.commands.reload import ask_daemon
    from reeldrop.config import config as configuration

    path = configuration.find(config)
    refused = ask_daemon(configuration.load(path))
    if refused:  # most of what is wrong is told with its place
        raise ConfigError(Mistake(refused, file="" if path.name in refused else str(path)))
