"""The events of a folder, as the kernel reports them.

A network share may report none. Does not know prompt files.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path


class Watch:
    """Calls `wake` when something happens in a folder, if the file system reports it.

    renamed: the files, by path in the folder, whose last event was a rename to that path

    Raises:
        OSError: the folder can't be watched.
    """

    def __init__(self, folder: Path, wake: Callable[[], None]) -> None:
        # Imported here so that commands that only read the inbox start quickly.
        from watchdog.events import FileSystemEvent, FileSystemEventHandler
        from watchdog.observers.inotify import InotifyObserver

        renamed = self.renamed = set[str]()
        is_closed = self._is_closed = threading.Event()

        class Waker(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                if event.event_type in ("opened", "closed_no_write"):  # our own reads
                    return
                if is_closed.is_set():
                    return
                if event.event_type != "attrib" and not event.is_directory:
                    self._note(event)
                wake()

            def _note(self, event: FileSystemEvent) -> None:
                """Add what was renamed; drop what was changed since, and files of moved folders."""
                renamed.discard(_below(folder, event.src_path))
                if event.event_type == "moved" and event.dest_path and not event.is_synthetic:
                    renamed.add(_below(folder, event.dest_path))

        # watchdog warns when it ends a thread; `is_alive` detects a watch that died.
        logging.getLogger("watchdog").setLevel(logging.CRITICAL)
        # Its warnings may quote all watched paths, and Python keeps the text of each.
        warnings.filterwarnings("ignore", module=r"watchdog\.")
        # Full events distinguish a file moved in from outside from one created here.
        self._observer = InotifyObserver(generate_full_events=True)
        self._observer.schedule(Waker(), str(folder), recursive=True)
        self._observer.start()

    def is_alive(self) -> bool:
        """Return whether events can still arrive."""
        threads = (self._observer, *self._observer.emitters)
        return not self._is_closed.is_set() and all(thread.is_alive() for thread in threads)

    def close(self) -> None:
        """Call `wake` no more, and end the library's threads without a wait for them.

        One of them may sleep for half a second after a rename, until the other half of that event
        would have come.
        """
        self._is_closed.set()
        for emitter in tuple(self._observer.emitters):
            emitter.stop()  # so that another watch of as many folders can begin at once
        threading.Thread(target=self._observer.stop, name="watch", daemon=True).start()


def _below(folder: Path, path: str | bytes) -> str:
    return os.fsdecode(path).removeprefix(f"{folder}/")
