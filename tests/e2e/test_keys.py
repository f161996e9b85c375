"""``cis key`` as users run it: passphrases, backups, and nodes that come back."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.conftest import COMMAND_S, ROOT, Home, pair

PASSPHRASE = "four words make one"


def is_one_line(text: str) -> bool:
    return text.startswith("cis: ") and text.count("\n") == 1


def holds(count: int) -> Callable[[Any], bool]:
    return lambda page: len(page["memories"]) == count


def on_terminal(home: Home, answers: list[tuple[str, str]], *words: str) -> tuple[int, str]:
    """Run a command on a terminal of its own, typing each answer once its question shows; its exit code and screen."""
    process, screen = pty.fork()
    if process == 0:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CIS_")}
        environment |= {"PYTHONPATH": str(ROOT / "src"), "CIS_HOME": str(home.path)}
        os.execve(sys.executable, [sys.executable, "-m", "cis", *words], environment)
    shown, waiting = b"", list(answers)
    deadline = time.monotonic() + COMMAND_S
    while time.monotonic() < deadline and select.select([screen], [], [], COMMAND_S)[0]:
        try:
            shown += os.read(screen, 4096)
        except OSError:  # the terminal closes with the last process on it
            break
        if waiting and waiting[0][0].encode() in shown and shown.endswith(b": "):  # nothing is echoed from there on
            os.write(screen, waiting.pop(0)[1].encode() + b"\n")
    os.close(screen)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), shown.decode()


def test_a_key_under_a_passphrase_opens_with_it_and_a_wrong_one_says_so(home: Home) -> None:
    home.cis("memory", "set", "editor", "dark mode")
    assert home.run("key", "passwd", CIS_PASSPHRASE=PASSPHRASE).code == 0
    assert home.json("key", "show")["protection"] == "passphrase"
    assert "dark mode" in home.run("memory", "get", "editor", CIS_PASSPHRASE=PASSPHRASE).out
    for command in (
        ("memory", "get", "editor"),
        ("up", "--detach"),
        ("key", "backup", "--words"),
        ("key", "passwd", "--remove"),
    ):
        ended = home.run(*command, CIS_PASSPHRASE="four words make two")
        assert (ended.code, "wrong passphrase" in ended.err) == (4, True), command
        assert is_one_line(ended.err)
    ended = home.run("memory", "get", "editor")
    assert ended.code == 4
    assert "CIS_PASSPHRASE" in ended.err
    assert home.run("key", "passwd", "--remove", CIS_PASSPHRASE=PASSPHRASE).code == 0
    assert "dark mode" in home.cis("memory", "get", "editor")


def test_a_running_node_is_told_its_passphrase_and_does_not_carry_it_about(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE + "\n")
    file.chmod(0o600)
    home.cis("key", "passwd", "--passphrase-file", str(file))
    started = home.run("up", "--detach", "--listen", "127.0.0.1:0", "--json", CIS_PASSPHRASE=PASSPHRASE)
    assert started.code == 0, started
    pid = json.loads(started.out)["pid"]
    if (environment := Path(f"/proc/{pid}/environ")).exists():
        assert PASSPHRASE.encode() not in environment.read_bytes()
    home.cis("memory", "set", "editor", "dark mode")  # needs no passphrase while the node runs
    home.cis("down")
    home.cis("up", "--detach", "--listen", "127.0.0.1:0", "--passphrase-file", str(file))
    assert "dark mode" in home.cis("memory", "get", "editor")


def test_on_a_terminal_a_new_passphrase_is_asked_for_twice_and_shown_never(home: Home) -> None:
    code, screen = on_terminal(home, [("new passphrase", PASSPHRASE), ("epeat", PASSPHRASE)], "key", "passwd")
    assert code == 0, screen
    assert PASSPHRASE not in screen
    assert home.json("key", "show")["protection"] == "passphrase"


def test_up_asks_before_it_detaches(home: Home) -> None:
    home.run("key", "passwd", CIS_PASSPHRASE=PASSPHRASE)
    question = "passphrase of the key"
    code, screen = on_terminal(home, [(question, "four words make two")], "up", "--detach", "--listen", "127.0.0.1:0")
    assert (code, "wrong passphrase" in screen) == (4, True), screen
    code, screen = on_terminal(home, [(question, PASSPHRASE)], "up", "--detach", "--listen", "127.0.0.1:0")
    assert code == 0, screen
    assert PASSPHRASE not in screen
    assert home.json("status")["running"]


def test_a_short_passphrase_or_none_changes_nothing(home: Home) -> None:
    before = (home.path / "identity.key").read_bytes()
    assert home.run("key", "passwd", CIS_PASSPHRASE="short").code == 2
    assert home.run("key", "passwd").code == 2
    assert home.run("key", "passwd", "--remove", "--keyring").code == 2
    assert (home.path / "identity.key").read_bytes() == before


def test_a_store_open_to_others_is_refused_with_the_command_that_mends_it(home: Home) -> None:
    path = home.path / "memory.db"
    path.chmod(0o644)
    ended = home.run("memory", "list")
    assert ended.code == 4
    assert ended.err.strip().endswith(f"chmod 600 {path}")
    path.chmod(0o600)
    home.cis("memory", "list")


def test_whatever_a_node_makes_in_its_home_is_its_owners_alone(home: Home) -> None:
    before = os.umask(0)
    try:
        home.up()
        home.cis("memory", "set", "editor", "dark mode")
        modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in home.path.iterdir()}
    finally:
        os.umask(before)
    assert {name: f"{mode:04o}" for name, mode in modes.items() if mode & 0o077} == {}


def test_a_member_restored_from_a_file_is_the_same_member_and_its_memories_come_back(
    new_home: Callable[[str], Home], tmp_path: Path
) -> None:
    one, two = new_home("one"), new_home("two")
    pair(one, two)
    two.cis("memory", "set", "editor", "dark mode")
    one.wait(holds(1), "memory", "list")
    file = tmp_path / "two.age"
    assert two.run("key", "backup", str(file), CIS_PASSPHRASE=PASSPHRASE).code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    did = two.json("status")["did"]
    two.kill()
    shutil.rmtree(two.path)

    ended = two.run("key", "restore", str(file), "--json", CIS_PASSPHRASE=PASSPHRASE)
    assert ended.code == 0, ended
    assert json.loads(ended.out)["did"] == did
    two.up()
    assert two.wait(holds(1), "memory", "list")["memories"][0]["key"] == "editor"
    two.cis("memory", "set", "shell", "fish")
    one.wait(holds(2), "memory", "list")
    one.cis("memory", "set", "pager", "less")
    two.wait(holds(3), "memory", "list")
    assert one.json("status")["members"] == two.json("status")["members"] == ["one", "two"]


def test_a_member_restored_from_words_is_the_same_member_once_it_is_invited(new_home: Callable[[str], Home]) -> None:
    one, two = new_home("one"), new_home("two")
    pair(one, two)
    two.cis("memory", "set", "editor", "dark mode")
    one.wait(holds(1), "memory", "list")
    words = two.cis("key", "backup", "--words")
    two.kill()
    shutil.rmtree(two.path)

    two.cis("key", "restore", "--words", given=words.encode())
    two.cis("join", one.json("invite")["ticket"], "--yes")
    two.up()
    assert two.wait(holds(1), "memory", "list")["memories"][0]["key"] == "editor"
    two.cis("memory", "set", "shell", "fish")
    one.wait(holds(2), "memory", "list")
    assert one.json("status")["members"] == ["one", "two"]


def test_a_founder_restored_from_words_comes_back_by_another_admin(new_home: Callable[[str], Home]) -> None:
    one, two = new_home("one"), new_home("two")
    pair(one, two)
    one.cis("acl", "grant", "two", "admin")
    one.cis("memory", "set", "editor", "dark mode")
    two.wait(holds(1), "memory", "list")
    two.wait(lambda status: status["role"] == "admin", "status")
    words = one.cis("key", "backup", "--words")
    one.kill()
    shutil.rmtree(one.path)

    one.cis("key", "restore", "--words", given=words.encode())
    one.cis("join", two.json("invite")["ticket"], "--yes")
    one.up()
    one.wait(holds(1), "memory", "list")
    one.cis("memory", "set", "shell", "fish")
    two.wait(holds(2), "memory", "list")
    assert one.json("status")["role"] == "admin"
    assert two.json("status")["members"] == ["one", "two"]


def test_a_backup_overwrites_nothing_and_a_wrong_passphrase_makes_nothing(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "solo.age"
    assert home.run("key", "backup", str(file), CIS_PASSPHRASE=PASSPHRASE).code == 0
    assert home.run("key", "backup", str(file), CIS_PASSPHRASE=PASSPHRASE).code == 2
    elsewhere = tmp_path / "elsewhere"
    ended = home.run("--home", str(elsewhere), "key", "restore", str(file), CIS_PASSPHRASE="four words make two")
    assert ended.code == 4
    assert is_one_line(ended.err)
    assert not elsewhere.exists()
    ended = home.run("key", "restore", str(file), CIS_PASSPHRASE=PASSPHRASE)
    assert (ended.code, "holds a node" in ended.err) == (2, True)
