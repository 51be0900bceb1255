"""`reeldrop check FILE`: how many videos a prompt file asks for, or what is wrong with it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from reeldrop.base.errors import Mistake, PromptError, Unavailable, WrongUsage
from reeldrop.commands import exit_codes, folders, output
from reeldrop.commands.submit import known_rules, model_of_daemon

if TYPE_CHECKING:
    from reeldrop.config.config import Config


def check_file(config: Config, file: Path, *, as_json: bool) -> int:
    """Print how many videos a prompt file asks for, or its mistakes, and return the exit code.

    It is read as the daemon would read it, wherever it is: in the inbox with the `_defaults.yaml`
    above it, elsewhere with that at the top of the inbox. Its pictures are not looked at.

    Raises:
        Unavailable: no daemon has loaded its model yet, so that its keys are not known.
        WrongUsage: there is no such file, or it is none of a prompt file's kinds.
    """
    from reeldrop.intake.reading import Reader
    from reeldrop.prompts import parsing
    from reeldrop.prompts.parsing import NotDescribed

    source = _source(config, file)
    if source.suffix.lower() not in parsing.SUFFIXES:
        raise WrongUsage(f"{file} does not end like a prompt file: .txt, .yaml, .yml or .mp4")
    model = model_of_daemon(config)
    reader = Reader({model: None, **known_rules(config)}, model)
    try:
        defaults = folders.scanned_inbox(config).defaults_for(source, parsing.MAX_DEFAULTS_BYTES)
        count, problems = len(reader.read(source, file, defaults).prompts), list[str]()
    except NotDescribed as error:
        raise Unavailable(Mistake(str(error), "start the daemon once")) from None
    except PromptError as error:
        count, problems = 0, list(map(str, error.mistakes))
    except OSError as error:
        raise WrongUsage(f"{file}: {error.strerror}") from None
    if as_json:
        output.print_json({"file": file, "videos": count, "problems": problems})
    elif problems:
        for problem in problems:
            output.note(problem)
    else:
        print(f"{output.printable(file)}: {count} video{'s' if count > 1 else ''}")
    return exit_codes.FAILED if problems else 0


def _source(config: Config, file: Path) -> PurePosixPath:
    """Return the path of a file in the inbox; its name alone if it is elsewhere."""
    whole, inbox = file.absolute(), config.inbox.absolute()
    is_inside = whole.is_relative_to(inbox)
    return PurePosixPath(whole.relative_to(inbox) if is_inside else file.name)
