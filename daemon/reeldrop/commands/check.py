"""`reeldrop check`: whether the daemon can work here; one row for each thing that it needs."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from reeldrop.base import temporaries
from reeldrop.base.errors import ConfigError, FileError, Mistake, Unavailable
from reeldrop.base.fleet import Device
from reeldrop.commands import exit_codes, fits, models, output
from reeldrop.commands.check_file import check_file
from reeldrop.commands.rows import Row, row_of
from reeldrop.config import config as configuration
from reeldrop.config import translators
from reeldrop.host import disk
from reeldrop.intake import share as shares
from reeldrop.render import room
from reeldrop.translation import source

if TYPE_CHECKING:
    from reeldrop.config.config import Config
    from reeldrop.translation.source import TranslatorSource


def check_all(path: Path | None, prompt_file: Path | None = None, *, as_json: bool) -> int:
    """Print a row for each thing that the daemon needs, and return the exit code.

    path: the config.yaml; None for the one that is found
    prompt_file: what is checked instead
    """
    file = configuration.find(path)
    config = configuration.load(file)
    if prompt_file is not None:
        placed = functools.partial(configuration.placed, path=file)
        return check_file(config, prompt_file, as_json=as_json, placed=placed)
    rows = [Row("config", True, str(file.absolute())), *folders(config)]
    if all(row.ok for row in rows if row.what == "inbox"):
        rows += share(config)
    rows += [*synced(config), free_space(config), *machine(config, file)]
    if as_json:
        output.print_json([dataclasses.asdict(row) for row in rows])
    else:
        output.print_rows((row.mark, row.what, row.detail) for row in rows)
    wrong = [row for row in rows if not row.ok]
    if not wrong:
        return 0
    return exit_codes.NOT_NOW if all(row.may_pass for row in wrong) else exit_codes.CONFIG


def folders(config: Config) -> Iterator[Row]:
    """Try in each folder what the daemon does there; make the daemon's own folders.

    The inbox is not made: if it is missing, a share is probably not mounted. If one folder is
    inside another, nothing else is tried.
    """
    apart = row_of("folders", lambda: _require_apart(config))
    if not apart.ok:
        yield apart
        return
    inbox = row_of("inbox", lambda: _exercise(config.inbox))
    yield inbox
    own = {"results": config.results, "failed": config.failed, "spool": config.spool}
    for name, folder in own.items():
        yield row_of(name, functools.partial(_exercise_own, folder))
    if inbox.ok:
        yield row_of("spool and inbox", lambda: _rename_between(config.inbox, config.spool))
    yield apart


def share(config: Config) -> Iterator[Row]:
    """Yield what the inbox's file system can do. The daemon needs none of it.

    OSError is ignored: `folders` reports an inbox in which files can't be made.
    """
    with contextlib.suppress(OSError):
        for found in shares.measure(config.inbox, config.scan_seconds):
            yield Row(f"inbox: {found.what}", True, found.text)


def synced(config: Config) -> Iterator[Row]:
    """Yield a row if a sync tool would take files in hand out of the spool, or bring them back."""
    found = shares.synced_by(config.spool)
    if found is not None:
        tool, mark = found
        where = f"{config.spool} is in a folder that {tool} syncs ({mark} is there)"
        remedy = "set spool to a folder outside of it, on the same file system as the inbox"
        yield Row("spool apart", False, f"{where}; {remedy}")


def free_space(config: Config) -> Row:
    """Check the free disk space; without enough, the daemon waits and begins no job.

    Call it after `folders`, which makes the folders.
    """
    shortage = disk.shortage((config.results, config.spool), config.min_free_gib)
    enough = f"at least min_free_gib: {config.min_free_gib:g} in results and spool"
    return Row("room", not shortage, shortage or enough, may_pass=bool(shortage))


def require_folders(config: Config) -> None:
    """Check the folders.

    Raises:
        Unavailable: some can't be used now, but may be later.
        ConfigError: one stays wrong until config.yaml is changed.
    """
    bad = [row for row in folders(config) if not row.ok]
    if bad:
        kind = Unavailable if all(row.may_pass for row in bad) else ConfigError
        raise kind(*(Mistake(row.detail, key=row.what) for row in bad))


def _require_apart(config: Config) -> str:
    """Raise ConfigError if a folder is inside another, symbolic links resolved.

    Only `failed` may be inside `results`.
    """
    named = {
        "inbox": config.inbox,
        "results": config.results,
        "spool": config.spool,
        "failed": config.failed,
    }
    for (name, folder), (other, above) in itertools.permutations(named.items(), 2):
        if (name, other) != ("failed", "results") and _is_inside(folder, above):
            problem = f"{folder} is inside the {other} ({above})"
            raise ConfigError(Mistake(problem, "give each a folder of its own", key=name))
    return "each folder is apart from the others"


def _is_inside(folder: Path, above: Path) -> bool:
    """Return whether a folder is `above` or below it, links resolved; neither has to exist."""
    resolved = Path(os.path.realpath(folder))
    return any(_is_same(above, parent) for parent in (resolved, *resolved.parents))


def _is_same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return os.path.realpath(one) == str(other)


def machine(config: Config, file: Path | None = None) -> Iterator[Row]:
    """Yield the device, and whether the model can be loaded onto it.

    file: the config.yaml, to name places in it
    """
    from reeldrop.config import profiles  # these take seconds to import
    from reeldrop.render import devices

    yield Row("device", True, devices.name())
    if config.provenance is not None:
        yield row_of("provenance", lambda: _try_to_sign(config))
    if config.engine == "ray":
        from reeldrop.commands import check_cluster

        yield from check_cluster.rows(config)
    others = profiles.chosen(config) - {"auto"}
    loads_here = fits.loads_here(config)
    if loads_here:
        yield from _own_model(config, file)
        with contextlib.suppress(ConfigError):  # that is told of it
            others -= {config.selected_model(cuda=devices.cuda_is_available())}
    if config.engine == "in_process":
        yield from _groups_of_gpus(config, file)
    for name in sorted(others):
        row = _other_model(name, config, file, is_here=loads_here)
        if loads_here and row.ok:
            yield from _memory(name, config, f"model {name}: memory")
        yield row
    for wanted in translators.sources(config).values():
        yield _translator(wanted, file)


def _try_to_sign(config: Config) -> str:
    from reeldrop.config import profiles

    profiles.signer(config)
    return "the certificate and its key can sign"


def _too_large(own: str, config: Config, file: Path | None) -> Iterator[Row]:
    """Yield the profiles that need more memory than the GPU of this machine has."""
    from reeldrop.config import profiles
    from reeldrop.render import devices

    device = Device(devices.name(), memory_bytes=devices.total_bytes() or 0)
    for name, reason in profiles.too_large(config, device).items():
        error = ConfigError(Mistake(reason, key=f"models.{name}.min_memory_gb"))
        found = _wrong(f"model {name}: memory", error, file)
        yield dataclasses.replace(found, ok=name != own, doubt=True)


def _own_model(config: Config, file: Path | None) -> Iterator[Row]:
    """Load the model for prompts that name none."""
    from reeldrop.config import profiles
    from reeldrop.render import devices, pipeline, placements

    try:
        model = config.selected_model(cuda=devices.cuda_is_available())
        yield from _too_large(model, config, file)
        placements.require(profiles.source(model, config))
        yield from _memory(model, config, "memory")
        if models.is_to_come(model, config):
            yield Row("model", True, _to_come(model, config, "the first start"), doubt=True)
            return
        if fits.would_be_killed(model, config, fits.this_machine()):
            detail = f"{model} was not loaded: its weights are larger than this machine's memory"
            yield Row("model", True, detail, doubt=True)
            return
        loaded = pipeline.load(profiles.source(model, config))
        profiles.model_rules(model, config, loaded.capabilities)
    except FileError as error:
        yield _wrong("model", error, file)
    else:
        detail = f"{model}: {type(loaded.pipe).__name__}, {loaded.dtype}, on {loaded.device}"
        yield Row("model", True, detail)


def _other_model(name: str, config: Config, file: Path | None, *, is_here: bool) -> Row:
    """Look at the files of a model that is loaded when a prompt asks for it.

    is_here: by this machine, which needs what its class needs
    """
    from reeldrop.config import profiles
    from reeldrop.render import lora_files, pipeline, placements, weights

    model = profiles.source(name, config)
    try:
        if is_here:
            placements.require(model)
        list(lora_files.there(model))
        size = weights.size(model)
        if is_here and size not in (0, weights.UNREADABLE):
            pipeline.check_class_there(model)
    except (ConfigError, Unavailable) as error:
        return _wrong(f"model {name}", error, file)
    if size == weights.UNREADABLE:
        problem = f"there is no model that can be read in {model.location}"
        return _wrong(f"model {name}", ConfigError(Mistake(problem, key=f"{model.key}.path")), file)
    if size:
        return Row(f"model {name}", True, f"{size / 2**30:.1f} GiB")
    offline = f"not on this machine; `HF_HUB_OFFLINE=0 reeldrop pull {name}` downloads it"
    is_to_come = models.is_to_come(name, config)
    detail = _to_come(name, config, "its first prompt") if is_to_come else offline
    return Row(f"model {name}", True, detail, doubt=True)


def _groups_of_gpus(config: Config, file: Path | None) -> Iterator[Row]:
    """Look whether this machine has the GPUs that render a video together; in a cluster, `status`
    says it."""
    from reeldrop.config import profiles
    from reeldrop.render import split

    for name in sorted(profiles.chosen(config) - {"auto"}):  # auto is for one GPU, or for none
        wanted = profiles.source(name, config)
        if wanted.gpus == 1:
            continue
        try:
            split.require_gpus(wanted)
        except Unavailable as error:
            yield _wrong(f"gpus of {name}", error, file)
        else:
            yield Row(f"gpus of {name}", True, f"{wanted.gpus} render a video together")


def _translator(wanted: TranslatorSource, file: Path | None) -> Row:
    """Look at the files of a translator, which is loaded when a prompt needs it."""
    what = f"translator {wanted.language}"
    if not source.is_there(wanted):
        remedy = f"`reeldrop pull {wanted.name}` downloads it, or else its first prompt"
        return Row(what, True, f"{wanted.location} is not on this machine; {remedy}", doubt=True)
    try:
        return Row(what, True, str(source.folder(wanted)))
    except FileError as error:
        return _wrong(what, error, file)


def _wrong(what: str, error: FileError, file: Path | None) -> Row:
    """Return the row of an error that comes of a key of config.yaml, with its place there."""
    told = error if file is None else configuration.placed(error, file)
    return Row(what, False, str(told), may_pass=isinstance(error, Unavailable))


def _memory(name: str, config: Config, what: str) -> Iterator[Row]:
    """Yield a row if a model may not fit on this machine, without loading it."""
    if lack := fits.lack(name, config, fits.this_machine()):
        yield Row(what, True, lack, doubt=True)


def _to_come(name: str, config: Config, when: str) -> str:
    """Return, in words, that a model has to be downloaded, and whether the disk has room for it."""
    profile = config.models[name]
    known = profile.about.download_gb
    remedy = f"`reeldrop pull {name}` downloads it, or else {when}"
    text = f"{name} is not on this machine ({models.size(known)}); {remedy}"
    wanted = [models.repository(name, profile, config)]
    wanted += [lora for lora, _ in models.loras(name, profile, config)]
    short = room.shortage([one for one in wanted if one is not None], (known or 0) * 1e9)
    return f"{text}; {short}" if short else text


def _exercise_own(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    return _exercise(folder)


def _exercise(folder: Path) -> str:
    """Create, rename and delete a file."""
    if not folder.is_dir():
        problem = "there is no such folder; is the share mounted? If it is on none, make it"
        raise NotADirectoryError(0, problem, str(folder))
    canary, renamed = _canary(folder), _canary(folder)
    _touch(canary)
    temporaries.remove_left(folder, canary)
    os.rename(canary, renamed)
    renamed.unlink()
    return str(folder)


def _canary(folder: Path) -> Path:
    """Return a name that no other call returns."""
    return temporaries.beside(folder / "x", temporaries.command_owner())


def _touch(canary: Path) -> None:
    with open(canary, "xb"):
        pass


def _rename_between(inbox: Path, spool: Path) -> str:
    """Rename a file from the inbox into the spool, as a claim does."""
    canary, renamed = _canary(inbox), _canary(spool)
    _touch(canary)
    try:
        os.rename(canary, renamed)
    except OSError as error:
        canary.unlink()
        error.strerror = "they must be on one file system (taking a prompt file is one rename)"
        raise
    renamed.unlink()
    return "on one file system"
