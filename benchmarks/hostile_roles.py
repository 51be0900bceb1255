"""The roles of authors, and the program that runs as one of them.

It reads an `Order` as a line of JSON from stdin, drops root's rights to those of the author, and
writes into the inbox until it is killed. It records each deed as a line of JSON in a journal; all
names that a deed leaves contain the deed's mark.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable

from hostile_author import Author, Order
from hostile_deeds import DEEDS, prompt_text, swap_file, swap_folder

LARGEST_BACKLOG = 150
"""An author waits while it has more files than this in the inbox: all have to be processed."""


def do(author: Author, deed: Callable[[Author, str], None]) -> None:
    """Do one deed, and record it; one that fails for lack of rights or room is abandoned."""
    mark = author.mark()
    try:
        deed(author, mark)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        author.tell("withdrawn", mark, reason=str(error))
    author.tell(deed.__name__, mark)


def be_hostile(author: Author) -> None:
    """Do random deeds without end."""
    deeds, weights = list(DEEDS), list(DEEDS.values())
    waits = 0
    while True:
        author.do_what_is_due()
        if author.deeds % 20 == 0 and _backlog(author) > LARGEST_BACKLOG and waits < 30:
            waits += 1
            time.sleep(1)
            continue
        waits = 0
        do(author, author.dice.choices(deeds, weights)[0])
        end = time.monotonic() + author.dice.uniform(0, 2 * author.order.pause)
        while time.monotonic() < end:
            author.do_what_is_due()
            time.sleep(0.05)


def _backlog(author: Author) -> int:
    return sum(len(files) for _, _, files in os.walk(author.own))


def be_brief(author: Author) -> None:
    """Do each deed once."""
    for deed in DEEDS:
        do(author, deed)
        author.do_what_is_due()


def be_swapping(author: Author) -> None:
    """Swap folders and files without end."""
    while True:
        do(author, author.dice.choice((swap_folder, swap_folder, swap_file)))
        time.sleep(author.order.pause)


def be_touching(author: Author) -> None:
    """Touch or rewrite the inbox's top-level defaults so often that they hardly ever settle."""
    file = author.inbox / "_defaults.yaml"
    while True:
        with contextlib.suppress(OSError):
            author.dice.choice((
                file.touch,
                lambda: file.write_text(author.dice.choice(("fps: 8\n", "# nothing\n", "{}\n"))),
            ))()  # fmt: skip
        with contextlib.suppress(OSError):
            author.own.touch()
            (author.own / "_defaults.yaml").touch()
        time.sleep(author.dice.uniform(0, author.order.settle_seconds * 1.05))


def be_good(author: Author) -> None:
    """Drop correct prompt files into the author's own folder and beside everybody else's."""
    while True:
        stem = f"good{author.deeds:05}{author.dice.randrange(1 << 32):08x}"
        author.deeds += 1
        folder = author.dice.choice(
            (author.own, author.own, author.own / f"day{author.deeds // 20}", author.inbox)
        )
        path = folder / f"{stem}{author.dice.choice(('.yaml', '.txt'))}"
        with contextlib.suppress(OSError):
            folder.mkdir(exist_ok=True)
        try:
            author.write(path, f"{stem}\n" if path.suffix == ".txt" else prompt_text(stem))
        except OSError as error:  # the disk is full
            with contextlib.suppress(OSError):
                path.unlink()
            print(f"{path}: {error}", file=sys.stderr)
        else:
            author.tell("good", stem, path=str(path.relative_to(author.inbox)))
        time.sleep(author.dice.uniform(0.5, 1.5) * author.order.pause)


ROLES: dict[str, Callable[[Author], None]] = {
    "hostile": be_hostile,
    "brief": be_brief,
    "swapping": be_swapping,
    "touching": be_touching,
    "good": be_good,
}


def main() -> None:
    """Run as an author until the process is killed."""
    order = Order(**json.loads(sys.stdin.readline()))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    author = Author(order)
    author.become()
    ROLES[order.role](author)


if __name__ == "__main__":
    main()
