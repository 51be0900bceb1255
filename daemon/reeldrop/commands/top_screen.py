"""The screen of `reeldrop top`. Knows no files: `top_state` reads them, and does what keys ask for.

Strangers' texts are shown as texts: nothing in them is markup.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import termios
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, OptionList, ProgressBar, Static
from textual.widgets.option_list import Option

from reeldrop.base.escaping import shown
from reeldrop.commands import top_state, top_texts
from reeldrop.commands.top_hands import Broken, Hands, Looked, Said
from reeldrop.commands.top_state import Kind, Looker, Row, Seen
from reeldrop.commands.top_texts import Parts

if TYPE_CHECKING:
    from reeldrop.config.config import Config

TERMINAL_SECONDS = 1.0
"""How often it is looked whether there still is a terminal."""

END_SECONDS = 5
"""How long the end may take, if the terminal or a disk does not answer."""


class Question(ModalScreen[bool]):
    """Asks before something is done that can't be undone."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape", "answer(False)", "No"),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        yield Static(Content(self._text))
        yield Footer(show_command_palette=False)

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)


class Top(App[int]):
    """The screen: the state, what is rendered, the lists of files, and what keys do."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { overflow: hidden; }
    #state { text-style: bold; }
    #state, #trouble, #now, #renderers, #room, #detail { padding: 0 1; }
    #trouble { color: $warning; display: none; max-height: 6; }
    #now { display: none; margin: 1 0 0 0; max-height: 4; }
    #renderers { display: none; max-height: 8; }
    #progress { display: none; padding: 0 1; }
    #progress Bar { width: 1fr; }
    #progress PercentageStatus { width: 5; }
    #room { margin: 1 0 0 0; text-wrap: nowrap; text-overflow: ellipsis; }
    #files {
        height: 1fr; min-height: 3; min-width: 20; margin: 1 0 0 0; padding: 0 1; border: none;
        text-wrap: nowrap; text-overflow: ellipsis;
        &:focus { border: none; }
        & > .option-list--option-disabled { color: $foreground; text-style: bold; }
        & > .option-list--option-highlighted { color: ansi_bright_white; background: ansi_blue; }
        &:nocolor > .option-list--option-highlighted { text-style: bold underline; }
    }
    #detail { height: auto; max-height: 4; border-top: solid $foreground; }
    .-short {
        #now, #room, #files { margin: 0; }
        #now, #detail { max-height: 2; }
    }
    #sought { display: none; height: 1; border: none; padding: 0 1; }
    Question { align: center middle; }
    Question Static { width: 90%; max-width: 70; padding: 1 2; border: round $warning; }
    """
    VERTICAL_BREAKPOINTS = [(0, "-short"), (20, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "Pause"),
        Binding("c", "cancel_file", "Cancel"),
        Binding("n", "raise_file", "Raise"),
        Binding("r", "retry_file", "Retry"),
        Binding("slash", "seek", "Find"),
        Binding("escape", "seek_no_more", "All files"),
        Binding("q", "end", "Quit"),
        Binding("ctrl+c,ctrl+q", "end", show=False, priority=True),
    ]

    def __init__(self, config: Config) -> None:
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"  # the colours of the terminal itself
        self._config = config
        self._looker = Looker(config)
        self._hands = Hands(self._looker, self.post_message)
        self._seen: Seen | None = None
        self._rows: dict[str, Row] = {}
        self._left: Row | None = None
        self._slid_to: str | None = None
        self._acted_on = ""

    def show(self) -> int:
        """Show it until somebody quits, and return the exit code."""
        vars(sys)["__stderr__"] = sys.stderr  # Textual's; ours does not fail with the terminal
        code = self.run() or self.return_code or 0
        signal.alarm(0)
        return code

    def compose(self) -> ComposeResult:
        yield Static(Content("looking …"), id="state")
        yield Static(id="trouble")
        yield Static(id="now")
        yield ProgressBar(id="progress", show_eta=False)
        yield Static(id="renderers")
        yield Static(id="room")
        yield OptionList(id="files")
        yield Static(id="detail")
        yield Input(id="sought", placeholder="part of a name", compact=True)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.action_end)
        if not self.is_headless:
            self.set_interval(TERMINAL_SECONDS, self._end_without_terminal)
        self._hands.start()
        self.query_one("#files").focus()

    def on_unmount(self) -> None:
        self._hands.end()

    # What is shown

    def on_broken(self, message: Broken) -> None:
        raise message.error

    def on_looked(self, message: Looked) -> None:
        before, self._seen = self._seen, message.seen
        if message.seen != before and self._has_widgets():
            self._show(message.seen)

    def on_said(self, message: Said) -> None:
        self.notify(
            shown(message.text),
            severity="warning" if message.is_problem else "information",
            markup=False,
        )

    def _show(self, seen: Seen) -> None:
        self._put("#state", top_texts.state(seen))
        self._put("#trouble", top_texts.trouble(seen))
        self._put("#now", top_texts.now(seen.status.rendering))
        self._show_progress(seen)
        self._put("#renderers", top_texts.renderers(seen))
        self._put("#room", top_texts.room(seen))
        self._show_files(seen)

    def _put(self, where: str, parts: Parts) -> None:
        """Show a text; without one, its place goes to others."""
        place = self.query_one(where, Static)
        place.display = bool(parts)
        place.update(Content.assemble(*parts))

    def _show_progress(self, seen: Seen) -> None:
        bar, now = self.query_one(ProgressBar), seen.status.rendering
        share = now.step / now.steps if now is not None else seen.status.downloaded
        bar.display = share is not None
        bar.update(total=1.0, progress=share or 0.0)

    def _show_files(self, seen: Seen) -> None:
        """Show the lists; the mark stays on its file, also in another list, or else where it is."""
        files = self.query_one(OptionList)
        marked, place, scrolled = self._marked(), files.highlighted, files.scroll_offset.y
        options, self._rows = [], {}
        for kind, count, rows in seen.lists():
            heading = top_texts.heading(kind, count, seen.sought)
            options.append(Option(Content(heading), disabled=True))
            for row in rows:
                id_ = f"{row.kind} {row.key}"
                if id_ not in self._rows:
                    self._rows[id_] = row
                    options.append(
                        Option(
                            Content.assemble(*top_texts.line(row, rows, files.size.width)), id=id_
                        )
                    )
        files.set_options(options or [Option(Content("no files"), disabled=True)])
        if marked is not None and (found := self._found(marked)) is not None:
            files.highlighted = files.get_option_index(found)
        elif self._rows:
            files.highlighted = max(0, min(place or 0, len(options) - 1))
            if files.highlighted_option is None or files.highlighted_option.disabled:
                files.action_cursor_down()
            self._left = marked if marked and marked.key != self._acted_on else None
            self._acted_on = ""
            self._slid_to = now.key if (now := self._marked()) is not None else None
        files.scroll_to(y=scrolled, animate=False)
        self._show_detail()

    def _found(self, marked: Row) -> str | None:
        """Return where a file is listed now, also if its rendering has begun or been put off.

        After a key has moved a file, the mark stays in the list, for the same key again.
        """
        kinds = [marked.kind]
        if marked.key != self._acted_on:
            kinds += [Kind.RENDERING, Kind.WAITING]
        ids = (f"{kind} {marked.key}" for kind in kinds)
        return next((id_ for id_ in ids if id_ in self._rows), None)

    def on_option_list_option_highlighted(self) -> None:
        if self._has_widgets():
            self._show_detail()

    def _has_widgets(self) -> bool:
        """Return whether there is anything to show a message on; not while the screen ends."""
        return bool(self.query("#files"))

    def _show_detail(self) -> None:
        row = self._marked()
        self._put("#detail", [] if row is None else top_texts.detail(row))

    def _marked(self) -> Row | None:
        """Return the file that the mark is on."""
        option = self.query_one(OptionList).highlighted_option
        return self._rows.get(option.id or "") if option is not None else None

    # What the keys do

    def action_pause(self) -> None:
        self._hands.do(partial(top_state.pause, self._config))

    def action_cancel_file(self) -> None:
        row = self._marked_one_of(Kind.RENDERING, Kind.WAITING)
        if row is None:
            return
        cancel = partial(self._act, top_state.cancel_file, row)
        if row.kind is Kind.WAITING:  # `retry` brings it back
            cancel()
            return
        question = f"{row.name} is being rendered. Cancel it? Its videos that are done stay."
        self.push_screen(Question(question), lambda answer: cancel() if answer else None)

    def action_raise_file(self) -> None:
        if (row := self._marked_one_of(Kind.WAITING)) is not None:
            self._act(top_state.raise_file, row)

    def action_retry_file(self) -> None:
        if (row := self._marked_one_of(Kind.FAILED)) is not None:
            self._act(top_state.retry_file, row)

    def _act(self, deed: Callable[[Config, Row], str], row: Row) -> None:
        """Do something with a file; if it leaves the list now, that is why."""
        self._acted_on = row.key
        self._hands.do(partial(deed, self._config, row))

    def _marked_one_of(self, *kinds: Kind) -> Row | None:
        """Return the marked file if it is in one of these lists; else say which it has to be.

        The first key after a file has left by itself was meant for that one, and does nothing; but
        not where somebody has moved the mark since.
        """
        row, left = self._marked(), self._left
        self._left = None
        if row is not None and left is not None and row.key == self._slid_to:
            text = f"{left.name} has left the list; the mark is on {row.name} now: press it again"
            self.post_message(Said(text, is_problem=True))
            return None
        if row is not None and row.kind in kinds:
            return row
        lists = " or ".join(kind.upper() for kind in kinds)
        self.post_message(Said(f"choose a file under {lists} first", is_problem=True))
        return None

    def action_seek(self) -> None:
        field = self.query_one(Input)
        field.display = True
        field.focus()
        self.refresh_bindings()

    def action_seek_no_more(self) -> None:
        field = self.query_one(Input)
        field.value, field.display = "", False
        self.query_one(OptionList).focus()
        self.refresh_bindings()

    def check_action(self, action: str, _parameters: tuple[object, ...]) -> bool:
        return action != "seek_no_more" or self.query_one(Input).display

    def on_input_changed(self, event: Input.Changed) -> None:
        self._looker.sought = event.value
        self._hands.look()

    def on_input_submitted(self) -> None:
        self.query_one(OptionList).focus()

    def action_end(self) -> None:
        if not self.is_headless:
            signal.alarm(END_SECONDS)
        self.exit(0)

    def _end_without_terminal(self) -> None:
        """End if the terminal was closed: not every one sends a signal, and Textual reads on."""
        try:
            termios.tcgetattr(sys.stdin.fileno())
        except termios.error:
            self.action_end()
