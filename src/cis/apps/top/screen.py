"""The screen of ``cis top``: which parts it has, what the keys do, and what it says when the node is away."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Static

from cis.api.text import escaped
from cis.apps.cli.printing import ago
from cis.apps.top import showing
from cis.apps.top.rates import Rates
from cis.apps.top.reading import Reading, Watcher
from cis.errors import CisError

LATE_S = 5.0
"""After so long without an answer the screen says so."""


class Said(Message):
    """What the node said, or why it did not."""

    def __init__(self, what: Reading | Exception) -> None:
        super().__init__()
        self.what = what


class Peers(DataTable[Text]):
    """The table of peers, a row each; the cursor stays on a peer wherever its row goes."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "details")]

    def on_mount(self) -> None:
        """Name the columns."""
        self.cursor_type = "row"
        for name, width in showing.COLUMNS.items():
            self.add_column(_cell(name, name), width=width, key=name)

    def show(self, listed: list[tuple[str, Sequence[str]]]) -> None:
        """Show these rows; where they are the same peers in the same order, only what changed is drawn."""
        rows = [(did, list(map(_cell, showing.COLUMNS, cells))) for did, cells in listed]
        if [key.value for key in self.rows] != [did for did, _ in rows]:
            chosen = self.chosen
            self.clear()
            for did, cells in rows:
                self.add_row(*cells, key=did)
            if chosen in self.rows:
                self.move_cursor(row=self.get_row_index(chosen))
            return
        for did, cells in rows:
            for name, cell in zip(showing.COLUMNS, cells, strict=True):
                if self.get_cell(did, name) != cell:
                    self.update_cell(did, name, cell, update_width=True)

    @property
    def chosen(self) -> str:
        """The DID of the peer the cursor is on; empty where there is none."""
        if not self.row_count:
            return ""
        return self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value or ""


class Sheet(ModalScreen[None]):
    """A text above the screen, which the keys close again; it may be longer than there is room."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "back"),
        Binding("q,enter,question_mark", "dismiss", show=False),
    ]

    def __init__(self, title: str, text: Callable[[], str]) -> None:
        super().__init__()
        self._title = title
        self._text = text
        self._shown = Static(markup=False)

    def compose(self) -> ComposeResult:
        """Lay it out."""
        with VerticalScroll() as sheet:
            sheet.border_title = self._title
            yield self._shown
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Show the text."""
        self.renew()

    def renew(self) -> None:
        """Show the text as it is by now."""
        self._shown.update(self._text())


class TopApp(App[None]):
    """A live screen of what ``read`` returns; ``failure`` is the defect it ended by, if it did."""

    TITLE = "cis top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; }
    #state { text-style: reverse; display: none; }
    #state.shown { display: block; }
    #peers, #traffic, #problems { border-top: solid $foreground; border-title-style: bold; }
    #peers { height: 1fr; min-height: 4; background: transparent; background-tint: transparent; }
    #peers, Sheet > VerticalScroll { scrollbar-size: 0 1; }
    #traffic { height: auto; max-height: 7; }
    #problems { height: auto; max-height: 6; }
    Peers > .datatable--header, Peers:focus > .datatable--header {
        background: transparent; background-tint: transparent; color: $foreground; text-style: bold;
    }
    Peers > .datatable--cursor, Peers:focus > .datatable--cursor {
        background: transparent; color: $foreground; text-style: reverse;
    }
    Peers > .datatable--even-row, Peers > .datatable--odd-row { background: transparent; }
    Sheet { align: center middle; }
    Sheet > VerticalScroll {
        width: 100%; max-width: 110; height: auto; max-height: 95%; border: solid $foreground; padding: 0 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("p", "pause", "pause"),
        Binding("s", "sort", "sort"),
        Binding("question_mark", "help", "help", key_display="?"),
    ]

    def __init__(
        self, read: Callable[[], Reading], interval_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        # The terminal's own colours: they suit its background, and NO_COLOR leaves none of them.
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        self.failure: Exception | None = None
        self._clock = clock
        self._watcher = Watcher(read, self._tell, interval_s, clock)
        self._rates = Rates()
        self._reading: Reading | None = None
        self._order = showing.Order.STATE
        self._good_at = clock()
        self._paused_at: float | None = None
        self._away = ""
        self._state = Static(id="state", markup=False)
        self._head = Static("asking the node …", id="head", markup=False)
        self._peers = Peers(id="peers")
        self._traffic = Static(id="traffic", markup=False)
        self._problems = Static(id="problems", markup=False)

    def compose(self) -> ComposeResult:
        """Lay the screen out."""
        self._traffic.border_title, self._problems.border_title = "traffic", "problems"
        yield self._state
        yield self._head
        yield self._peers
        yield self._traffic
        yield self._problems
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to ask."""
        self._watcher.start()
        self.set_interval(1.0, self._show_state)

    def on_unmount(self) -> None:
        """Ask no more."""
        self._watcher.end()

    def _tell(self, what: Reading | Exception) -> None:
        """Pass on what the thread heard; the screen may have ended by then."""
        with contextlib.suppress(RuntimeError):
            self.post_message(Said(what))

    def on_said(self, said: Said) -> None:
        """Take up what came of asking."""
        if self._paused_at is not None or not self.screen_stack:  # it may come when the screen has ended
            return
        if isinstance(said.what, Reading):
            self._away, self._good_at, self._reading = "", self._clock(), said.what
            if said.what.traffic is not None:
                self._rates.take(said.what.traffic, said.what.status.pid)
            self._show()
        elif isinstance(said.what, CisError):
            self._away = str(said.what)
        else:
            self.failure = said.what
            self.exit(return_code=1)
        self._show_state()

    def on_resize(self) -> None:
        """Fit what depends on the width."""
        self._show()

    def on_data_table_row_selected(self, selected: Peers.RowSelected) -> None:
        """Show all that is known of the chosen peer."""
        did = selected.row_key.value or ""
        self.push_screen(Sheet("peer", lambda: self._details(did)))

    def action_help(self) -> None:
        """Explain the screen."""
        self.push_screen(Sheet("keys and columns", lambda: showing.HELP))

    def action_pause(self) -> None:
        """Stop the screen, or let it go on."""
        if self._paused_at is None:
            self._paused_at = self._clock()
            self._watcher.pause()
        else:
            self._paused_at = None
            self._watcher.resume()
        self._show_state()

    def action_sort(self) -> None:
        """Sort peers by the next thing."""
        self._order = self._order.next
        self._show()

    def _details(self, did: str) -> str:
        return showing.details(self._reading, self._rates, did) if self._reading is not None else ""

    def _show(self) -> None:
        if self._reading is None:
            return
        self._head.update(showing.head(self._reading))
        rows = showing.rows(self._reading, self._rates, self._order)
        self._peers.show(rows)
        self._peers.border_title = (
            f"peers by {self._order}" if rows else "no peers yet: `cis invite` lets a device join"
        )
        self._traffic.update(showing.traffic(self._reading, self._rates, self.size.width))
        self._problems.update(showing.problems(self._reading))
        if isinstance(self.screen, Sheet):
            self.screen.renew()

    def _show_state(self) -> None:
        """Say why the screen is not live, where it is not."""
        now, since, text = self._clock(), self._watcher.asking_since, ""
        old = f"; this is what it said {ago(now - self._good_at)} ago" if self._reading is not None else ""
        if self._paused_at is not None:
            text = f"paused for {ago(now - self._paused_at)}: p goes on"
        elif since is not None and now - since > LATE_S:
            text = f"the node has not answered for {ago(now - since)}{old}"
        elif self._away:
            text = f"{self._away}{old}"
        self._state.update(escaped(text))
        self._state.set_class(bool(text), "shown")


def _cell(column: str, text: str) -> Text:
    """Return a text that is taken as it is; figures stand at the right."""
    return Text(text, justify="right" if column in showing.FIGURES else "left", no_wrap=True)
