"""Turn the hub's errors into ours, with the problem and a remedy."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from huggingface_hub import constants, errors
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

from reeldrop.base.errors import DISK_ERRORS, ConfigError, Mistake, Unavailable
from reeldrop.render.repository import Wanted, pinned

_TOKEN = (
    "make a token on https://huggingface.co/settings/tokens, and give it as HF_TOKEN in the "
    "environment, or with `hf auth login`"
)


@contextlib.contextmanager
def as_ours(wanted: Wanted) -> Iterator[None]:
    """Raise the hub's errors as ConfigError or Unavailable; disk errors stay OSError."""
    place, where = wanted.location, f"{wanted.key}.repository"
    try:
        yield
    except errors.GatedRepoError:
        problem = f"{place} is only for those who accept its conditions"
        remedy = f"accept them on {constants.ENDPOINT}/{place}, and {_TOKEN}"
        raise ConfigError(Mistake(problem, remedy, key=where)) from None
    except errors.RepositoryNotFoundError:
        problem = f"there is no repository {place} on the hub, or it is private"
        remedy = f"correct the name; for a private one, {_TOKEN}"
        raise ConfigError(Mistake(problem, remedy, key=where)) from None
    except errors.RevisionNotFoundError:
        raise ConfigError(_no_revision(wanted)) from None
    except (HTTPError, OSError, errors.RevisionResolutionError) as error:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS - {errno.EIO}:
            raise
        cause = " ".join(str(error.__cause__ or error).split())[:120] or type(error).__name__
        what = f"{wanted.what} ({place})"
        problem = f"{what} is not on this machine and could not be downloaded: {cause}"
        remedy = (
            "check the network: the next try goes on where this one ended; or give the folder of "
            "a copy as `path:`"
        )
        raise Unavailable(Mistake(problem, remedy, key=wanted.name)) from None


def _no_revision(wanted: Wanted) -> Mistake:
    if wanted.revision is not None:
        problem = f"{wanted.location} has no revision {wanted.revision}"
        remedy = "give a commit, tag or branch that it has, or leave revision out for the newest"
        return Mistake(problem, remedy, key=f"{wanted.key}.revision")
    problem = f"{wanted.location} no longer has the commit {pinned(wanted)} of the first download"
    remedy = f"`reeldrop pull --newest {wanted.name}` takes the newest"
    return Mistake(problem, remedy, key=f"{wanted.key}.repository")
