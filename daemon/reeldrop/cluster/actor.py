"""The Ray actor of one GPU: the same renderer as without a cluster, and the encoder.

The bridge calls its methods, several at a time. Does not import Ray; torch is imported inside
functions only, because the bridge imports this module, too. An actor ends when nobody asks for its
events any more: Ray does not end actors that lost their owner while the head was gone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import itertools
import os
import pickle
import queue
import shutil
import signal
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from reeldrop.base import scratch
from reeldrop.base.errors import ReeldropError, RendererDied, RenderError
from reeldrop.base.events import (
    BatchFailed,
    BatchRendered,
    Downloading,
    ModelFailed,
    Previewed,
    RendererEnded,
    SignOfLife,
    StepDone,
)
from reeldrop.base.job import Batch, Cause, Member
from reeldrop.cluster.outbox import Outbox
from reeldrop.cluster.wire import (
    NO_BATCH,
    Cancel,
    Facts,
    Instruction,
    Load,
    Release,
    Render,
    Said,
    Setup,
    Tune,
    Use,
)

if TYPE_CHECKING:
    from reeldrop.base.events import RendererEvent
    from reeldrop.render.source import ModelSource

ASK_SECONDS = 10.0
"""How long a call of `ask` waits. Even an empty answer shows that the actor works."""

ALONE_SECONDS = 60.0
"""How long an actor goes on without a call of `ask`."""

EXIT_ALONE = 75

_log = structlog.get_logger()


class RendererActor:
    """A renderer that takes numbered orders, and that is asked for its events.

    setup: a pickled `Setup`
    share_of: how many renderers share the cores of its machine; 0 leaves the threads as they are
    """

    def __init__(self, setup: bytes, share_of: int = 0) -> None:
        from reeldrop.host import log, process

        if share_of:
            use_cores(share_of)
        with process.importing():
            from reeldrop.render.renderer import InProcessRenderer
            from reeldrop.video import encoder

        log.to_stdout()  # Ray writes it into a file on the node
        self._setup: Setup = pickle.loads(setup)
        self._h264 = encoder.choose_h264(self._setup.encoder)
        self._folder = self._setup.results if self._sees_results() else None
        self._pictures = scratch.make("reeldrop-pictures-")
        self._outbox = Outbox()
        self._events: queue.SimpleQueue[RendererEvent] = queue.SimpleQueue()
        self._batches: dict[int, Batch] = {}
        self._orders: dict[int, bytes] = {}
        self._next = 1
        self._obeying = threading.Lock()
        self._living = threading.Lock()
        self._step = 0
        self._asked = self._encoded_at = time.monotonic()
        self._renderer = InProcessRenderer(self._here(self._setup.sources), self._events.put)
        threading.excepthook = self._broken
        threading.Thread(target=self._encode, name="encoder", daemon=True).start()

    def facts(self) -> Facts:
        """Return what the bridge has to know of this node and its GPU, measured now."""
        from reeldrop.render import devices

        self._asked = time.monotonic()
        node, memories = socket.gethostname(), devices.memories()
        gpu = f"{node}/{os.environ.get('CUDA_VISIBLE_DEVICES', '')}" if memories else ""
        free, total = min(memories, default=(0, 0))
        version = importlib.metadata.version("reeldrop")
        sees = self._folder is not None
        device, gpus = devices.name(), max(1, len(memories))
        return Facts(node, device, gpu, total, free, sees, version, os.getpid(), gpus)

    def obey(self, number: int, order: bytes) -> None:
        """Take an order. Orders are carried out in the order of their numbers, each once."""
        with self._obeying:
            if number >= self._next:
                self._orders[number] = order
            while (next_one := self._orders.pop(self._next, None)) is not None:
                self._next += 1
                self._carry_out(pickle.loads(next_one))

    def ask(self, arrived: int) -> tuple[int, tuple[bytes, ...]]:
        """Return the number of the last event, and those after `arrived`; see `Outbox.take`."""
        self._asked = time.monotonic()
        return self._outbox.take(arrived, ASK_SECONDS)

    def live(self) -> None:
        """Tell signs of life until nobody calls `ask` any more; then end the process.

        A repeated call returns at once; otherwise such calls would occupy all threads.
        """
        from reeldrop.host import ending

        if not self._living.acquire(blocking=False):
            return
        told = 0
        while time.monotonic() < self._asked + ASK_SECONDS + ALONE_SECONDS:
            time.sleep(1)
            sign = ending.mebibytes_moved()
            if sign != told:
                told = sign
                self._tell(Said(0, SignOfLife(sign)), "SignOfLife")
        _log.error("nobody_asks", seconds=ALONE_SECONDS, next="this renderer ends")
        os._exit(EXIT_ALONE)

    def _carry_out(self, order: Instruction) -> None:
        match order:
            case Load(model):
                self._renderer.load(model)
            case Release(model, keeps):
                self._renderer.release(model, keeps=keeps)
            case Use(sources):
                self._renderer.use(self._here(sources))
            case Render(number, batch, pictures):
                self._batches[number] = placed(batch, pictures, self._pictures / str(number))
                self._renderer.render(self._batches[number])
            case Cancel(number):
                if (known := self._batches.get(number)) is not None:
                    self._renderer.cancel(known)
            case Tune():
                threading.Thread(target=self._tune, args=(order,), name="tuner").start()

    def _here(self, sources: Mapping[str, ModelSource]) -> Mapping[str, ModelSource]:
        """Return the sources with paths on this machine."""
        from reeldrop.render import pins
        from reeldrop.render.source import bundled_model

        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reeldrop"
        with contextlib.suppress(OSError):  # without it, no commit is kept
            cache.mkdir(parents=True, exist_ok=True)
        found = {}
        for name, source in sources.items():
            is_bundled = source.location == self._setup.bundled
            location = str(bundled_model()) if is_bundled else source.location
            found[name] = dataclasses.replace(
                source, location=location, pins=cache / pins.FILE_NAME
            )
        return found

    def _sees_results(self) -> bool:
        """Return whether this node shares the service's folder for encoded files, and may write."""
        folder = self._setup.results
        try:
            content = (folder / self._setup.marker).read_text(encoding="utf-8")
        except OSError:
            return False
        return content == self._setup.secret and os.access(folder, os.W_OK | os.X_OK)

    # Threads

    def _tune(self, order: Tune) -> None:
        """Tell how a profile is rendered fastest here; the renderer has loaded nothing."""
        from reeldrop.config import profiles
        from reeldrop.tune.tuning import Tuner

        steps = itertools.count(1)

        def goes_on() -> None:
            """Tell a sign of each step: one trial may take hours."""
            self._tell(Said(0, SignOfLife(next(steps))), "SignOfLife")

        [source] = self._here({order.source.name: order.source}).values()
        try:
            tuner = Tuner(*profiles.to_tune(source, order.allowed), order.rounds, on_step=goes_on)
            for told in tuner.tell():
                self._tell(Said(0, told), "")
        except (ReeldropError, RuntimeError) as error:  # torch raises RuntimeErrors
            known = error if isinstance(error, ReeldropError) else RenderError(repr(error))
            self._tell(Said(0, ModelFailed(source.name, known)), "")

    def _encode(self) -> None:
        """Tell events, after encoding the frames in them."""
        while True:
            event = self._events.get()
            if isinstance(event, BatchRendered | BatchFailed):
                self._tell_of_batch(self._encoded(event), "")
            elif isinstance(event, StepDone | Previewed):
                self._step = event.step if isinstance(event, StepDone) else self._step
                self._tell_of_batch(event, type(event).__name__)
            else:
                self._tell(Said(0, event), "Downloading" if isinstance(event, Downloading) else "")

    def _encoded(self, event: BatchRendered | BatchFailed) -> BatchRendered | BatchFailed:
        from reeldrop.video import remote

        def goes_on() -> None:
            """Repeat the last step each second: encoding a long video must not look like a hang."""
            if (now := time.monotonic()) >= self._encoded_at + 1:
                self._encoded_at = now
                self._tell_of_batch(StepDone(event.batch, self._step), "StepDone")

        try:
            return remote.encoded(event, self._h264, self._folder, goes_on)
        except RenderError as error:
            return BatchFailed(event.batch, error)
        except OSError as error:
            if self._folder is None:  # the next one would fail, too
                words = f"there is no room for the encoded files: {error}"
                raise OSError(error.errno, words) from None
        self._folder = None  # the disk is full or the share has gone: use the network from now on
        return self._encoded(event)

    def _tell_of_batch(
        self, event: BatchRendered | BatchFailed | StepDone | Previewed, kind: str
    ) -> None:
        known = list(self._batches.items())  # a copy: another thread adds to it
        number = next((number for number, batch in known if batch is event.batch), 0)
        if number and isinstance(event, BatchRendered | BatchFailed):
            del self._batches[number]
            shutil.rmtree(self._pictures / str(number), ignore_errors=True)
        if number:  # a preview may come after the answer
            self._tell(Said(number, dataclasses.replace(event, batch=NO_BATCH)), kind)

    def _tell(self, said: Said, kind: str) -> None:
        self._outbox.put(pickle.dumps(said), kind)

    def _broken(self, raised: threading.ExceptHookArgs) -> None:
        """Tell that a thread has ended with an error: the service replaces this renderer."""
        threading.__excepthook__(raised)
        error, cause = raised.exc_value, Cause.WORK
        if isinstance(error, OSError):
            error, cause = RendererDied(f"its machine fails: {error}"), Cause.MACHINE
        elif not isinstance(error, RendererDied):
            error = RendererDied(f"a defect of the renderer: {raised.exc_type.__name__}: {error}")
        self._tell(Said(0, RendererEnded(error, cause)), "")


def placed(batch: Batch, pictures: Mapping[Path, bytes], folder: Path) -> Batch:
    """Write pictures into a folder, which is made for them; return their batch with the new paths.

    Raises:
        OSError: they can't be written.
    """
    places = {
        path: folder / hashlib.sha256(content).hexdigest() for path, content in pictures.items()
    }
    for path, content in pictures.items():
        folder.mkdir(exist_ok=True)
        places[path].write_bytes(content)

    def member(one: Member) -> Member:
        moved = (
            dataclasses.replace(picture, path=places.get(picture.path, picture.path))
            for picture in one.prompt.pictures
        )
        return Member(one.job_id, dataclasses.replace(one.prompt, pictures=tuple(moved)))

    return Batch(tuple(map(member, batch.members)))


def use_cores(share_of: int) -> None:
    """Let torch, once it is imported, use a share of this machine's cores.

    Ray sets one thread for an actor that asks for no CPU. What the machine's own environment says
    stays.
    """
    told = Path("/proc/self/environ").read_bytes().split(b"\0")  # as the process began
    if not any(variable.startswith(b"OMP_NUM_THREADS=") for variable in told):
        cores = len(os.sched_getaffinity(0))
        os.environ["OMP_NUM_THREADS"] = str(max(1, cores // share_of))


def end_process(pid: int) -> None:
    """Kill a process of this machine, and its process group if it leads one."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
