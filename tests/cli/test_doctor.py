"""`immure doctor`, on this host and on hosts that lack something; what it says when something is missing is what a launch says."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from immure.testing.household import Household, command
from immure.testing.openai.service import FakeOpenAI

CODEX = Path(__file__).parents[2] / "tools" / "codex" / "node_modules" / ".bin" / "codex"
WALLS = ("machine", "user-namespaces", "network", "seccomp", "bubblewrap", "nested")

# Each makes a host on which something is missing, in namespaces of its own, and runs "$@" there → the check that fails.
WITHOUT_BUBBLEWRAP = 'for place in $(which -a bwrap | xargs realpath | sort -u); do mount --bind /dev/null $place; done; exec "$@"'
WITHOUT_USER_NAMESPACES = 'echo 1 > /proc/sys/user/max_user_namespaces; exec unshare --user --map-user=1000 --map-group=1000 "$@"'
WITHOUT_NETWORKS = 'echo 0 > /proc/sys/user/max_net_namespaces; exec unshare --user --map-user=1000 --map-group=1000 "$@"'
WITHOUT_NESTED = 'echo 5 > /proc/sys/user/max_user_namespaces; exec unshare --user --map-user=1000 --map-group=1000 "$@"'
WITHOUT_CERTIFICATES = 'mount -t tmpfs none /etc/ssl; exec "$@"'
HOSTS = {
    "bubblewrap": WITHOUT_BUBBLEWRAP,
    "user-namespaces": WITHOUT_USER_NAMESPACES,
    "network": WITHOUT_NETWORKS,
    "nested": WITHOUT_NESTED,
    "certificates": WITHOUT_CERTIFICATES,
}

CODES = {"bubblewrap": "host.no-bubblewrap", "user-namespaces": "host.no-user-namespaces", "network": "host.no-network"}


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as running:
        yield running


@pytest.fixture(scope="module")
def home(fake: FakeOpenAI) -> Iterator[Household]:
    with Household(fake, codex=str(CODEX)) as made:
        yield made


def report(result: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    found = json.loads(result.stdout)
    assert result.stderr == ""
    assert found["ok"] == (result.returncode == 0) == all(check["status"] != "failed" for check in found["checks"])
    return {check["id"]: check for check in found["checks"]}


def test_on_this_host_nothing_is_missing(home: Household) -> None:
    found = report(home.run("doctor", "--json"))
    assert {name: found[name]["status"] for name in WALLS} == dict.fromkeys(WALLS, "ok")
    assert found["codex"]["status"] == found["vault"]["status"] == found["settings"]["status"] == "ok"
    assert [check["id"] for check in found.values() if check["status"] != "ok" and not check["fix"]] == []


def test_nothing_is_made_and_no_broker_started(fake: FakeOpenAI) -> None:
    with Household(fake) as home:
        before = sorted(Path(home.directory).rglob("*"))
        assert home.run("doctor").returncode == 0
        assert sorted(Path(home.directory).rglob("*")) == before
        assert home.broker() is None


def test_it_tells_nothing_of_the_login(home: Household, fake: FakeOpenAI) -> None:
    assert home.run("--provider", "codex", "run", "--", "true").returncode == 0
    result = home.run("doctor", "--json")
    assert report(result)["vault"]["detail"].startswith("records that open: 1;")
    secrets = [fake.account.access_token, fake.account.refresh_token, fake.account.email]
    assert not [secret for secret in secrets if secret[:12] in result.stdout]


def test_for_people_each_check_is_a_line_with_a_hint_if_something_is_wrong(home: Household) -> None:
    result = home.run("doctor")
    lines = result.stdout.splitlines()
    assert result.returncode == 0
    assert all(re.match(r"(ok|warning|FAILED) +[a-z-]+ +\S| +hint: \S", line) for line in lines)
    assert sum("hint:" in line for line in lines) == sum(line.startswith(("warning", "FAILED")) for line in lines)


def test_a_mistake_in_the_settings_is_found(home: Household) -> None:
    settings = Path(home.immure_home) / "config" / "config.toml"
    before = settings.read_text()
    settings.write_text("[limit]\n")
    try:
        result = home.run("doctor", "--json")
    finally:
        settings.write_text(before)
    assert report(result)["settings"] == {
        "id": "settings",
        "status": "failed",
        "detail": f"{settings}: limit: unknown key",
        "fix": "did you mean 'limits'?",
    }


def test_a_damaged_vault_is_found(fake: FakeOpenAI) -> None:
    with Household(fake, codex=str(CODEX)) as home:
        assert home.run("--provider", "codex", "run", "--", "true").returncode == 0
        (Path(home.immure_home) / "state" / "vault" / "key").write_text("no key\n")
        assert report(home.run("doctor", "--json"))["vault"]["status"] == "failed"


@pytest.mark.parametrize("lack", HOSTS)
def test_a_host_that_cannot(lack: str, fake: FakeOpenAI) -> None:
    with Household(fake) as home:
        words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", HOSTS[lack], "-", command()]
        where: dict[str, Any] = {"cwd": home.workspace, "env": home.environment, "capture_output": True, "text": True, "timeout": 60}
        found = report(subprocess.run([*words, "doctor", "--json"], **where))
        assert found[lack]["status"] == "failed"
        assert found[lack]["fix"]
        if lack in CODES:
            launch = subprocess.run([*words, "run", "--", "true"], **where)
            told = f"error: {found[lack]['detail']} [{CODES[lack]}]\nhint: {found[lack]['fix']}\n"
            assert (launch.returncode, launch.stderr) == (125, told)


def test_without_a_terminal_there_is_no_colour(home: Household) -> None:
    assert "\x1b" not in home.run("doctor").stdout
    assert os.path.exists(home.workspace)
