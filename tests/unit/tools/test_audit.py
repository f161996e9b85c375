"""The audit can fail: each rule is broken here, and each step is shown what it must not pass."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools import audit, audit_secrets
from tools.audit import STEPS, Outcome
from tools.audit_rules import EXCEPTIONS, RULES, all_findings, findings_in
from tools.audit_secrets import KNOWN, entropy, leaks_in, unknown_leaks

_BROKEN = [
    ("secret from a replayable generator", "nonce = random.randbytes(12)"),
    ("secret from a replayable generator", "self.session_key = self._rng.randbytes(32)"),
    ("secret from a replayable generator", "seal(body, salt=rng.getrandbits(64))"),
    ("secret compared with ==", "if mac == given: pass"),
    ("secret compared with ==", "ok = self._mac != frame.mac"),
    ("secret compared with ==", "ok = hmac.new(key, data, sha256).digest() == given"),
    ("secret compared with ==", "ok = invitation.secret == found.secret"),
    ("dangerous call", "import pickle"),
    ("dangerous call", "from marshal import loads"),
    ("dangerous call", "value = eval(text)"),
    ("dangerous call", "exec(code)"),
    ("dangerous call", "yaml.load(text)"),
    ("dangerous call", "yaml.load(text, Loader=yaml.UnsafeLoader)"),
    ("dangerous call", "subprocess.run(command, shell=True)"),
    ("dangerous call", "os.system(command)"),
    ("dangerous call", "digest = hashlib.md5(data)"),
    ("dangerous call", "client.get(url, verify=False)"),
    ("dangerous call", "archive.extractall(folder)"),
    ("dangerous call", "path.chmod(0o644)"),
    ("composed SQL", "connection.execute(f'SELECT * FROM t WHERE key = {key}')"),
    ("composed SQL", "connection.execute('SELECT * FROM t WHERE key = ' + key)"),
    ("composed SQL", "connection.execute('SELECT * FROM t WHERE key = %s' % key)"),
    ("composed SQL", "connection.execute('SELECT * FROM {}'.format(name))"),
    ("composed SQL", "def f(name):\n    query = f'SELECT * FROM {name}'\n    return fetch(connection, query)"),
    ("composed SQL", "for table in tables():\n    connection.execute(f'DELETE FROM {table}')"),
    ("secret told", "_log.info('joined with %s', ticket.secret)"),
    ("secret told", "print(f'the key is {identity.seed.hex()}')"),
    ("secret told", "raise UsageError(f'wrong passphrase: {passphrase}')"),
    ("secret told", "say('secret: ' + str(secret))"),
    ("assert on input", "def read_entry(raw):\n    assert len(raw) > 4"),
    ("assert on input", "def on_frame(self, frame):\n    assert frame.kind == 1, 'a kind'"),
]


@pytest.mark.parametrize(("rule", "text"), _BROKEN)
def test_each_rule_finds_what_breaks_it(rule: str, text: str) -> None:
    assert rule in {found.rule for found in findings_in("src/cis/planted.py", text)}


def test_no_rule_is_left_unbroken_here() -> None:
    assert {rule for rule, _ in _BROKEN} == set(RULES)


_SOUND = [
    "nonce = entropy(12)",
    "delay = rng.uniform(1, 2)",
    "ok = hmac.compare_digest(mac, given)",
    "known = mac == EMPTY_MAC",
    "ok = kind == 'secret'",
    "yaml.load(text, Loader=yaml.SafeLoader)",
    "path.chmod(0o600)",
    "connection.execute('SELECT * FROM t WHERE key = ?', (key,))",
    "for table in ('live', 'dead'):\n    connection.execute(f'DELETE FROM {table}')",
    "_TABLE = 'live'\nconnection.execute(f'DELETE FROM {_TABLE} WHERE no = ?', (number,))",
    "store.execute(lambda connection: save(connection, row))",
    "_log.info('a secret of %d bytes', len(secret))",
    "raise Denied('wrong passphrase')",
    "def read_entry(raw):\n    if len(raw) < 4:\n        raise PeerFault(Fault.MALFORMED, 'too short')",
    "def _kill(self, highs):\n    assert self._open",
]


@pytest.mark.parametrize("text", _SOUND)
def test_what_is_sound_is_not_reported(text: str) -> None:
    assert findings_in("src/cis/planted.py", text) == []


def test_the_code_breaks_no_rule_but_where_a_reason_is_given_and_needed() -> None:
    found = {one.key for one in all_findings()}
    assert sorted(found - EXCEPTIONS.keys()) == []
    assert [key for key, reason in EXCEPTIONS.items() if key not in found or len(reason) < 10] == []


# In two parts each, so that this file holds no whole one.
_LEAKS = [
    "-----BEGIN OPENSSH " + "PRIVATE KEY-----",
    "AGE-SECRET-" + "KEY-1" + "Q" * 58,
    "AKIA" + "ABCDEFGHIJKLMNOP",
    "ghp_" + "a1B2" * 9,
    "glpat-" + "a1B2c3D4e5F6g7H8i9J0",
    "xoxb-" + "1234567890-abcdef",
    "sk-" + "a1B2" * 10,
    "cis1" + "abcdefghij" * 11,
    "cis identity 1\n" + "did:key:z6MkTest\n" + "0123456789abcdef" * 4,
    "postgres" + "://user:hunter2hunter2@db.example/x",
    'api_key = "' + 'q9ZxT2mP7vKc4LwR8nBj"',
    'PASSWORD: "' + 'Vb7!kQ2#xLp9@wZr4$Tn"',
]


@pytest.mark.parametrize("text", _LEAKS)
def test_each_form_of_a_secret_is_found_and_not_shown_whole(text: str) -> None:
    found = list(leaks_in("planted", "before\n" + text + "\nafter"))
    assert found
    assert found[0].line == 2
    assert found[0].text not in str(found[0])


@pytest.mark.parametrize(
    "text",
    [
        'secret = "the-words-of-a-sentence-in-a-row"',
        "token = entropy(32)",
        'password = "aaaaaaaaaaaaaaaaaaaaaaaa"',
        "sha256:0123456789abcdef0123456789abcdef",
        "cis1mf2w…",
    ],
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert list(leaks_in("planted", text)) == []


def test_entropy_is_that_of_shannon() -> None:
    assert entropy("aaaa") == 0
    assert entropy("abab") == pytest.approx(1)
    assert entropy("0123456789abcdef") == pytest.approx(4)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    git(tmp_path, "config", "user.email", "nobody@example.org")
    git(tmp_path, "config", "user.name", "nobody")
    return tmp_path


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)


def test_a_secret_that_was_removed_is_still_found_in_history(repository: Path) -> None:
    file = repository / "settings.py"
    file.write_text("token = '" + "a1B2c3D4e5F6g7H8i9J0'\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "first")
    file.write_text("token = read()\n")
    git(repository, "commit", "-qam", "second")
    assert [leak.where.partition(" ")[0] for leak in unknown_leaks(repository)] == ["blob"]


def test_a_secret_not_yet_committed_is_found_by_its_file(repository: Path) -> None:
    (repository / "notes.txt").write_text("ghp_" + "a1B2" * 9)
    assert [leak.where for leak in unknown_leaks(repository)] == ["notes.txt"]


def test_what_is_known_is_excused_by_its_hash_alone(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "notes.txt").write_text("ghp_" + "a1B2" * 9)
    (leak,) = unknown_leaks(repository)
    monkeypatch.setitem(audit_secrets.KNOWN, leak.mark, "a test's own")
    assert unknown_leaks(repository) == []


def test_what_is_known_has_a_reason() -> None:
    assert [mark for mark, reason in KNOWN.items() if len(reason) < 10] == []


def pip_audit_says(answers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def run(module: str, *words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        named = next(word for word in words if word.endswith(".txt"))
        return subprocess.CompletedProcess([], 0, answers[Path(named).name], "")

    monkeypatch.setattr(audit, "_run", run)


_CONTROL = '{"dependencies": [{"name": "urllib3", "version": "1", "vulns": [{"id": "PYSEC-2023-2", "aliases": []}]}]}'
_CLEAN = '{"dependencies": [{"name": "qh3", "version": "2.1.0", "vulns": []}]}'
_UNKNOWN = '{"dependencies": [{"name": "qh3", "skip_reason": "could not be audited"}]}'
_FOUND = '{"dependencies": [{"name": "qh3", "version": "2.1.0", "vulns": [{"id": "CVE-2030-1", "aliases": []}]}]}'


@pytest.mark.parametrize(
    ("control", "lock", "passes", "told"),
    [
        (_CONTROL, _CLEAN, True, "newest at least PYSEC-2023-2"),
        (_CLEAN, _CLEAN, False, "no data"),
        (_UNKNOWN, _CLEAN, False, "no data"),
        ("", _CLEAN, False, "no data"),
        (_CONTROL, _UNKNOWN, False, "qh3: could not be audited"),
        (_CONTROL, _FOUND, False, "1 found"),
        (_CONTROL, "", False, "requirements/dev.txt"),
    ],
)
def test_no_data_is_no_pass(control: str, lock: str, passes: bool, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_audit_says({"control.txt": control, "dev.txt": lock, "build.txt": _CLEAN}, monkeypatch)
    outcome = audit.vulnerabilities()
    assert outcome.passed is passes
    assert told in outcome.summary or any(told in detail for detail in outcome.details)


def test_bandit_that_did_not_run_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.CompletedProcess([], 1, "", "No module named bandit")
    monkeypatch.setattr(audit, "_run", lambda *_, **__: ended)
    assert audit.bandit() == Outcome(passed=False, summary="did not run", details=("No module named bandit",))
    assert not audit.doctor().passed


def test_one_failed_step_fails_the_audit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(STEPS, "rules", lambda: Outcome(passed=True, summary="fine"))
    monkeypatch.setitem(STEPS, "bandit", lambda: Outcome(passed=False, summary="not fine", details=("why",)))
    assert audit.main(["rules"]) == 0
    assert audit.main(["rules", "bandit"]) == 1
    assert "FAIL bandit" in capsys.readouterr().out
    assert audit.main(["nonsense"]) == 2
