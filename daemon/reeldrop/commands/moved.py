"""What `retry` and `cancel` share: which prompt file a NAME means, and what was done with it."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from reeldrop.base.errors import NoSuchPromptFile
from reeldrop.base.escaping import shown
from reeldrop.base.names import portable
from reeldrop.commands import exit_codes, output


@dataclass(frozen=True, slots=True)
class Moved:
    """What a command did with the prompt file `name`, in words.

    file: where it is now; None if that is unknown or it is still in hand.
    is_failure: whether the command could not do it
    """

    name: str
    what: str
    file: Path | None = None
    is_failure: bool = False


def report(moved: Iterable[Moved], *, as_json: bool, if_none: str = "") -> int:
    """Print what was done with each prompt file, and return the exit code.

    Also what was done until `moved` raised an error. if_none: what to say if there was nothing
    """
    done: list[Moved] = []
    is_all = False
    try:
        for one in moved:
            done.append(one)
            if not as_json:
                where = f", as {one.file}" if one.file else ""
                print(output.printable(f"{one.name}: {one.what}{where}"))
        is_all = True
    finally:
        if as_json and (done or is_all):
            output.print_json([dataclasses.asdict(one) for one in done])
    if if_none and not as_json and not done:
        output.note(if_none)
    return exit_codes.FAILED if any(one.is_failure for one in done) else 0


def below(folder: Path, name: str) -> str:
    """Return a NAME that is a full path below a folder, such as `submit` prints, from there on."""
    path = Path(name)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else name


def meant(name: str, known: list[str], where: str) -> str:
    """Return the path in `known` that `name` means: a path, or a file name or stem of only one.

    A path in the inbox also means its portable form, which the file has in `_failed/`. A `./`
    before a path only keeps it from looking like an option.

    Raises:
        NoSuchPromptFile: `name` means none of them, or several.
    """
    name = name.removeprefix("./")
    for path in known:
        if name in (path, shown(PurePosixPath(path))):
            return path
    if (moved := str(portable(PurePosixPath(name)))) in known:
        return moved
    same_name = [path for path in known if PurePosixPath(path).name == name]
    same_stem = [path for path in known if PurePosixPath(path).stem == name]
    for found in (same_name, same_stem):
        if len(found) == 1:
            return found[0]
    near = same_name or same_stem or difflib.get_close_matches(name, known) or known[:5]
    names = ", ".join(shown(PurePosixPath(path)) for path in near)
    raise NoSuchPromptFile(f"no prompt file {where} is called {name}; there is {names or 'none'}")
