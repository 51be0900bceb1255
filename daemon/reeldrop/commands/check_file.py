"""`reeldrop check FILE`: how many videos a prompt file asks for, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from reeldrop.base.errors import Mistake, PromptError, Unavailable, WrongUsage
from reeldrop.commands import exit_codes, folders, output
from reeldrop.commands.submit import known_rules, model_of_daemon

if TYPE_CHECKING:
    from reeldrop.base.errors import FileError
    from reeldrop.base.job import Prompt
    from reeldrop.commands.check_translations import Translation
    from reeldrop.config.config import Config


def check_file(
    config: Config,
    file: Path,
    *,
    as_json: bool,
    placed: Callable[[FileError], FileError] = lambda error: error,
) -> int:
    """Print how many videos a prompt file asks for, or its mistakes, and return the exit code.

    And what would be translated, and what its author should know.

    It is read as the daemon would read it, wherever it is: in the inbox with the `_defaults.yaml`
    above it, elsewhere with that at the top of the inbox. Its pictures are not looked at.

    placed: returns an error of a translator with its place in config.yaml

    Raises:
        Unavailable: no daemon has loaded its model yet, so that its keys are not known.
        WrongUsage: there is no such file, or it is none of a prompt file's kinds.
    """
    try:
        return _check(config, file, placed, as_json=as_json)
    except (Unavailable, WrongUsage) as error:
        if as_json:
            _print_json(file, None, [str(error)])
        raise


def _print_json(
    file: Path,
    videos: int | None,
    problems: list[str],
    translations: Sequence[Translation] = (),
    long_texts: Sequence[str] = (),
) -> None:
    told = [one._asdict() for one in translations]
    found = {"file": file, "videos": videos, "problems": problems, "long_texts": long_texts}
    output.print_json({**found, "translations": told})


def _check(
    config: Config, file: Path, placed: Callable[[FileError], FileError], *, as_json: bool
) -> int:
    from reeldrop.commands import check_translations
    from reeldrop.intake.reading import Reader
    from reeldrop.intake.scan import no_prompt_file
    from reeldrop.prompts import parsing
    from reeldrop.prompts.parsing import NotDescribed

    source = _source(config, file)
    if source.suffix.lower() not in parsing.SUFFIXES:
        raise WrongUsage(f"{file} is {no_prompt_file(source.suffix.lower())}")
    model = model_of_daemon(config)
    reader = Reader({model: None, **known_rules(config)}, model)
    try:
        defaults = folders.scanned_inbox(config).defaults_for(source, parsing.MAX_DEFAULTS_BYTES)
        prompts, mistakes = reader.read(source, file, defaults).prompts, tuple[Mistake, ...]()
    except NotDescribed as error:
        raise Unavailable(_half_checked(error.model, model)) from None
    except PromptError as error:
        prompts, mistakes = (), tuple(error.mistakes)
    except OSError as error:
        raise WrongUsage(f"{file}: {error.strerror}") from None
    translations = check_translations.of(prompts, config, placed)
    problems = list(map(str, mistakes))
    if not config.render_untranslated:
        problems += [str(one) for one in translations if one.fails]
    english = {one.text: one.translated for one in translations}
    count = 0 if problems else len(prompts)
    long_texts = list(_long_texts(config, prompts, english))
    if as_json:
        _print_json(file, count, problems, translations, long_texts)
    elif problems:
        for problem in problems:
            output.note(problem)
        for line in (line for mistake in mistakes for line in mistake.example_lines):
            output.note(line)
    else:
        print(f"{output.printable(file)}: {count} video{'s' if count > 1 else ''}")
        for text in dict.fromkeys((*map(str, translations), *long_texts)):
            print(output.printable(text))
        for note in dict.fromkeys(note for prompt in prompts for note in prompt.notes):
            output.note(note)
    return exit_codes.FAILED if problems else 0


def _half_checked(model: str, usual: str) -> Mistake:
    """Return why the settings of a file were not checked, and how they can be.

    usual: the profile for prompts that name none
    """
    named = "this machine's model" if model == "auto" else f"the model {model}"
    problem = "the form of the file is right, but its settings are not checked yet: what "
    problem += f"{named} allows is known when the service has loaded it"
    remedy = "the first prompt for it does that"
    if model == usual:
        remedy = "start the service once, with `reeldrop run`, and check again"
    remedy += "; a file in the inbox is checked in any case before it is rendered"
    return Mistake(problem, remedy)


def _long_texts(
    config: Config, prompts: Sequence[Prompt], english: Mapping[str, str]
) -> Iterator[str]:
    """Yield, in words, how texts are read that are too long for the text encoder at once.

    Only of profiles that read such texts in chunks; nothing if their model is not on this machine.

    english: the translations of texts that the model can't read
    """
    models = {p.model for p in prompts if config.models[p.model].long_prompt == "chunks"}
    if not models:
        return
    from reeldrop.config import profiles  # these take seconds to import
    from reeldrop.render import chunks

    readers = {name: chunks.reader_without_model(profiles.source(name, config)) for name in models}
    for prompt in prompts:
        reader = readers.get(prompt.model)
        for what, text in zip(("prompt", "negative prompt"), prompt.texts, strict=True):
            cut = reader.cut(english.get(text) or text) if reader else None
            if cut is not None and len(cut.chunks) > 1:
                rest = f"; not read: {output.printable(cut.ignored)}" if cut.ignored else ""
                read = f"{cut.tokens} tokens in {len(cut.chunks)} chunks"
                yield f"{what} {prompt.number}: {read}{rest}"


def _source(config: Config, file: Path) -> PurePosixPath:
    """Return the path of a file in the inbox; its name alone if it is elsewhere."""
    whole, inbox = file.absolute(), config.inbox.absolute()
    is_inside = whole.is_relative_to(inbox)
    return PurePosixPath(whole.relative_to(inbox) if is_inside else file.name)
