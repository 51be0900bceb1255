"""Errors travel between processes: nothing of them may be lost."""

from __future__ import annotations

import pickle

from reeldrop.base import errors
from reeldrop.base.errors import FileError, Mistake, PromptError, ReeldropError, Unrenderable
from reeldrop.prompts.faults import Fault, SettingsRefused
from reeldrop.prompts.parsing import NotDescribed

MISTAKE = Mistake("a problem", "a remedy", 1, 2, "key", "file", "example")


def _of(kind: type[ReeldropError]) -> ReeldropError:
    """Return an error of a class of `base.errors`, with all that it may carry."""
    if issubclass(kind, Unrenderable):
        return kind("a problem", "a remedy")
    error = kind(MISTAKE, MISTAKE) if issubclass(kind, FileError) else kind("a problem")
    if isinstance(error, PromptError):
        error.pictures, error.is_paired = ("a.png",), True
    return error


def test_a_pickled_error_says_and_carries_the_same() -> None:
    """Also one of a class that does not take its text."""
    found = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    kinds = [kind for kind in found if issubclass(kind, ReeldropError)]
    assert {errors.TooLarge, errors.NeedsPicture} < {*kinds}
    for error in (
        *map(_of, kinds),
        SettingsRefused([Fault("a problem", "a remedy", 1, "an example")]),
        NotDescribed("m", 3, ("a.png",), is_paired=True),
    ):
        seen = pickle.loads(pickle.dumps(error))
        assert type(error) is type(seen)
        assert (str(error), error.args, vars(error)) == (str(seen), seen.args, vars(seen))
