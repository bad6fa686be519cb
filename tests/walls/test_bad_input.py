"""Whatever is wrong: one error, a hint, the documented status; nothing half-made is left, and nothing has run without its walls."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from far_side import EAR
from near_side import PATIENCE, assert_one_error, call

from immure.testing.household import Household, command
from immure.testing.openai.service import FakeOpenAI
from immure.testing.record import Record

CODEX = Path(__file__).parents[2] / "tools" / "codex" / "node_modules" / ".bin" / "codex"
WITNESS = ("sh", "-c", "touch ran; echo ran > /tmp/immure-witness")
"""What would show that a program has run, walled or not."""

# options of `immure`, with the words of the household to be filled in → (status, code)
OPTIONS = [
    (["run", "-w", "nowhere"], 2, "workspace.missing"),
    (["run", "-w", "{home}/.bashrc"], 2, "workspace.missing"),
    (["run", "-w", "/"], 2, "workspace.holds-secrets"),
    (["run", "-w", "{home}"], 2, "workspace.holds-secrets"),
    (["run", "-w", "{home}/.immure/state"], 2, "workspace.holds-secrets"),
    (["run", "-w", "{home}/.codex"], 2, "workspace.holds-secrets"),
    (["run", "--ro", "{home}/.codex"], 2, "workspace.holds-secrets"),
    (["run", "--ro", "{home}/link-to-codex"], 2, "workspace.holds-secrets"),
    (["run", "--rw", "{home}/.immure/run"], 2, "workspace.holds-secrets"),
    (["run", "-w", "/proc/sys"], 125, "workspace.not-writable"),
    (["run", "--ro", "nowhere"], 2, "workspace.missing"),
    (["run", "--rw", "nowhere"], 2, "workspace.missing"),
    (["run", "--allow", "https://example.com/"], 2, "usage.endpoint"),
    (["run", "--allow", "exa mple.com"], 2, "usage.endpoint"),
    (["run", "--allow", "example.com:0"], 2, "usage.endpoint"),
    (["run", "--allow", "example.com:65536"], 2, "usage.endpoint"),
    (["run", "--allow", ""], 2, "usage.endpoint"),
    (["run", "--env", ""], 2, "usage.env"),
    (["run", "--env", "=value"], 2, "usage.env"),
    (["run", "--unprotect", "nothing"], 2, "usage.unprotect"),
    (["run", "--pids", "many"], 2, "usage.limit"),
    (["run", "--hide", ".."], 2, "workspace.hide"),
    (["run", "--policy", "nowhere.yaml"], 2, "policy.file"),
    (["run", "--policy", "."], 2, "policy.file"),
    (["run", "--provider", "nobody"], 2, "provider.unknown"),
    (["--provider", "nobody", "run"], 2, "provider.unknown"),
    (["run", "--nonsense"], 2, "usage"),
    (["--nonsense", "run"], 2, "usage"),
]
POLICIES = [
    "rules: []\n",
    "version: 2\n",
    "version: 1\nrule: []\n",
    "version: 1\nrules:\n  - name: no endpoint\n",
    f"version: 1\nrules:\n  - {{name: a, endpoints: [{EAR}], effect: maybe}}\n",
    f"version: 1\nrules:\n  - {{name: a, endpoints: [{EAR}], binaries: [/nowhere/program]}}\n",
    "version: 1\nrules: [*all]\n",
    "{",
    "\0",
]
SETTINGS = [
    "[[upstream]]\nhost = 'https://x/'\naddress = '127.0.0.1:1'\n",
    f"[[upstream]]\nhost = '{EAR}'\naddress = 'elsewhere:443'\n",
    f"[[upstream]]\nhost = '{EAR}'\naddress = '127.0.0.1:443'\nca = '/nowhere.pem'\n",
    f"[[upstream]]\nhost = '{EAR}'\naddress = '127.0.0.1:443'\nkey = 'unknown'\n",
    "[upstreams]\n",
    "[codex]\ntelemetry = 'yes'\n",
    "not toml",
]


def login(**changes: Any) -> dict[str, Any]:
    return {"auth_mode": "chatgpt", **changes}


# what auth.json holds (None: no file) → code
LOGINS: list[tuple[str | None, str]] = [
    (None, "login.missing"),
    ("", "login.malformed"),
    ("{", "login.malformed"),
    ("[]", "login.malformed"),
    (json.dumps(login()), "login.malformed"),
    (json.dumps(login(tokens={"access_token": 1})), "login.malformed"),
    (json.dumps(login(tokens=None, OPENAI_API_KEY=None)), "login.malformed"),
]


@pytest.fixture(scope="module")
def household(fake: FakeOpenAI) -> Iterator[Household]:
    with Household(fake, codex=str(CODEX)) as made:
        (Path(made.home) / ".bashrc").touch()
        (Path(made.home) / "link-to-codex").symlink_to(made.codex_home)
        yield made


@pytest.fixture(autouse=True)
def nothing_ran(home: Household) -> Iterator[None]:
    yield
    assert os.listdir(home.workspace) == []
    assert not os.path.exists("/tmp/immure-witness")


@pytest.mark.parametrize(("words", "status", "code"), OPTIONS, ids=lambda value: " ".join(value) if isinstance(value, list) else None)
def test_options(words: list[str], status: int, code: str, home: Household) -> None:
    filled = [word.format(home=home.home) for word in words]
    run = [] if "run" in filled[1:] or filled[0] == "run" else ["run"]
    result = call(home, *filled, *run, "--", *WITNESS)
    assert_one_error(result.returncode, result.stderr, expected=status, code=code)


def test_nothing_to_run(home: Household) -> None:
    for words in (["run"], ["run", "--"], ["run", "--allow"]):
        result = call(home, *words)
        assert_one_error(result.returncode, result.stderr, expected=2, code="usage")


@pytest.mark.parametrize("content", POLICIES)
def test_a_policy_that_cannot_be_read(content: str, home: Household) -> None:
    path = Path(home.home) / "policy.yaml"
    path.write_text(content)
    result = call(home, "run", "--policy", str(path), "--", *WITNESS)
    assert_one_error(result.returncode, result.stderr, expected=2, code="policy.file")


@pytest.mark.parametrize("content", SETTINGS)
def test_settings_that_cannot_be_read(content: str, home: Household) -> None:
    path = Path(home.immure_home) / "config" / "config.toml"
    before = path.read_text()
    path.write_text(content)
    try:
        result = call(home, "run", "--", *WITNESS)
    finally:
        path.write_text(before)
    assert_one_error(result.returncode, result.stderr, expected=2, code="settings.invalid")


@pytest.mark.parametrize(("content", "code"), LOGINS)
def test_a_login_that_is_not_there_or_damaged(content: str | None, code: str, home: Household) -> None:
    path = Path(home.codex_home) / "auth.json"
    before = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_text(content)
    try:
        result = call(home, "codex", "exec", "do something")
    finally:
        path.write_bytes(before)
    assert_one_error(result.returncode, result.stderr, expected=2, code=code)


def test_a_login_that_has_ended(fake: FakeOpenAI) -> None:
    fake.record = Record()
    with Household(fake, codex=str(CODEX)) as home:
        path = Path(home.codex_home) / "auth.json"
        content = json.loads(path.read_bytes())
        content["tokens"]["refresh_token"] = "fake-rt-spent"
        path.write_text(json.dumps({**content, "last_refresh": "2020-01-01T00:00:00Z"}))
        result = call(home, "codex", "exec", "do something")
    assert_one_error(result.returncode, result.stderr, expected=2, code="login.ended")
    assert b"fake-rt-spent" not in result.stderr
    assert {one.path for one in fake.record.all()} == {"/oauth/token"}, "nothing was asked with it but a renewal"


def test_no_codex(home: Household) -> None:
    result = call(home, "codex", "exec", "do something", environment={"PATH": "/usr/bin:/bin"})
    assert_one_error(result.returncode, result.stderr, expected=127, code="codex.missing")


@pytest.mark.parametrize("name", [".git", ".codex", ".agents"])
def test_a_protected_path_that_is_a_link(name: str, home: Household) -> None:
    link = Path(home.workspace) / name
    link.symlink_to("elsewhere")
    result = call(home, "run", "--", *WITNESS)
    link.unlink()
    assert_one_error(result.returncode, result.stderr, expected=2, code="workspace.protected-link")


def test_a_directory_that_has_gone(home: Household) -> None:
    script = f"mkdir gone; cd gone; rmdir ../gone; exec {command()} run -- {' '.join(WITNESS[:1])} -c true"
    result = subprocess.run(["sh", "-c", script], cwd=home.workspace, env=home.environment, capture_output=True, timeout=PATIENCE)
    said = result.stderr.decode().splitlines()[-2:]  # the shell that starts us complains of it too
    assert_one_error(result.returncode, "\n".join(said), expected=2, code="usage.directory")


@pytest.mark.parametrize("place", ["/proc/immure", "/dev/null/immure"])
def test_a_place_for_its_files_that_cannot_be(place: str, home: Household) -> None:
    result = call(home, "run", "--", *WITNESS, environment={"IMMURE_HOME": place})
    assert_one_error(result.returncode, result.stderr, expected=125, code="broker.directory")


# ---------------------------------------------------------------- a host that cannot


# Each makes a machine on which something is missing, in namespaces of its own, and runs "$@" there.
WITHOUT_BUBBLEWRAP = 'for place in $(which -a bwrap | xargs realpath | sort -u); do mount --bind /dev/null $place; done; exec "$@"'
WITHOUT_USER_NAMESPACES = 'echo 1 > /proc/sys/user/max_user_namespaces; exec unshare --user --map-user=1000 --map-group=1000 "$@"'
HOSTS = {
    "no bubblewrap": (["--mount"], WITHOUT_BUBBLEWRAP, "host.no-bubblewrap"),
    "no user namespaces": ([], WITHOUT_USER_NAMESPACES, "host.no-user-namespaces"),
}


@pytest.mark.parametrize("lack", HOSTS)
def test_a_host_that_cannot(lack: str, fake: FakeOpenAI) -> None:
    flags, script, code = HOSTS[lack]
    with Household(fake) as home:  # whose broker lives there too
        words = ["unshare", "--user", "--map-root-user", *flags, "sh", "-c", script, "-", command(), "run", "--", *WITNESS]
        result = subprocess.run(words, cwd=home.workspace, env=home.environment, capture_output=True, timeout=PATIENCE)
        assert_one_error(result.returncode, result.stderr, expected=125, code=code)
        assert os.listdir(home.workspace) == []
        assert list(Path(home.immure_home, "state").glob("sandboxes/*")) == []


def test_the_control_of_these_hosts_that_the_same_namespaces_do(fake: FakeOpenAI) -> None:
    with Household(fake) as home:
        nested = ["unshare", "--user", "--map-root-user", "unshare", "--user", "--map-user=1000", "--map-group=1000"]
        words = [*nested, command(), "run", "--", "echo", "works"]
        result = subprocess.run(words, cwd=home.workspace, env=home.environment, capture_output=True, timeout=PATIENCE)
        assert (result.returncode, result.stdout, result.stderr) == (0, b"works\n", b"")
