"""A server on this machine that takes messages, as Apprise's json:// sends them.

It drops messages whose Idempotency-Key came before, as servers that support this header do.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from harness.processes import await_that


class MessageReceiver:
    """Takes messages, refuses them, or lets the sender wait.

    drops: whether it drops duplicates
    dropped: how many it has dropped
    refused: messages whose title contains this are refused
    """

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.drops = True
        self.dropped = 0
        self.refused = ""
        self.requests = 0
        self.code = 200
        self.answers = threading.Event()
        self.answers.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.requests += 1
                size = int(self.headers["Content-Length"])
                body = self.rfile.read(size)
                if len(body) < size:
                    return  # the sender was killed
                receiver.answers.wait()
                message, code = json.loads(body), receiver.code
                if receiver.refused and receiver.refused in message["title"]:
                    code = 413
                if code == 200:
                    receiver.take(message, self.headers.get("Idempotency-Key", ""))
                with contextlib.suppress(OSError):  # the sender was killed
                    self.send_response(code)
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"json://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, message: dict[str, Any], key: str) -> None:
        """Keep a message, unless it is a duplicate."""
        if self.drops and key and key in self.keys:
            self.dropped += 1
            return
        self.keys.add(key)
        self.messages.append(message)

    def titles(self) -> list[str]:
        """Return the titles of the messages, in order."""
        return [message["title"] for message in self.messages]

    def await_titles(self, *titles: str) -> None:
        """Wait until exactly these have arrived, in this order."""
        await_that(lambda: len(self.messages) >= len(titles), f"the messages {titles}")
        assert list(titles) == self.titles()

    def close(self) -> None:
        self.answers.set()
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def receiving() -> Iterator[MessageReceiver]:
    """Take messages for the length of the block."""
    receiver = MessageReceiver()
    try:
        yield receiver
    finally:
        receiver.close()
