"""`immure sandbox` as a command: its options, its network, and what no profile shows."""

import os
import socket
import stat
from pathlib import Path

import pytest
from far_side import EAR, OTHER_EAR

from immure.testing.household import Household
from immure.testing.openai.service import FakeOpenAI

NETWORK = ("-c", "sandbox_mode=workspace-write", "-c", "sandbox_workspace_write={network_access=true}")
ASK = ("curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}")
CONNECT = ("/usr/bin/python3", "-c", "import socket; socket.socket(socket.AF_UNIX).connect('served')")


def test_streams_and_statuses_are_those_of_a_launch(home: Household) -> None:
    result = home.run("sandbox", "-P", ":workspace", "--", "sh", "-c", "cat; echo err >&2; exit 7", text="in")
    assert (result.returncode, result.stdout, result.stderr) == (7, "in", "err\n")


@pytest.mark.parametrize(
    "spelling",
    [("-P", ":workspace"), ("--permission-profile", ":workspace"), ("--permissions-profile", ":workspace"), ("linux", "-P", ":workspace")],
)
def test_every_spelling_means_the_same(home: Household, spelling: tuple[str, ...]) -> None:
    result = home.run("sandbox", *spelling, "--", "sh", "-c", "touch made && echo $CODEX_SANDBOX_NETWORK_DISABLED")
    assert (result.returncode, result.stdout, result.stderr) == (0, "1\n", "")
    assert (Path(home.workspace) / "made").exists()


def test_it_works_in_the_directory_that_is_named(home: Household) -> None:
    directory = Path(home.workspace) / "one"
    directory.mkdir()
    result = home.run("sandbox", "-P", ":workspace", "-C", "one", "--", "sh", "-c", "pwd; touch here; touch ../there")
    assert (result.stdout, sorted(entry.name for entry in directory.iterdir())) == (f"{os.path.realpath(directory)}\n", ["here"])
    assert not (directory.parent / "there").exists()


@pytest.mark.parametrize("option", [("-w", "."), ("--ro", "/usr"), ("--rw", "."), ("--hide", "x"), ("--provider", "codex")])
def test_what_a_profile_says_is_not_said_twice(home: Household, option: tuple[str, str]) -> None:
    result = home.run(*option, "sandbox", "--", "true")
    assert result.returncode == 2
    assert "[usage.sandbox]" in result.stderr


def test_an_error_names_file_and_key(home: Household) -> None:
    config = Path(home.codex_home) / "config.toml"
    config.write_text('[permissions.lab.filesystem]\n"relative" = "read"\n')
    try:
        result = home.run("sandbox", "-P", "lab", "--", "true")
    finally:
        config.unlink()
    assert result.returncode == 2
    assert f"error: {config}: permissions.lab.filesystem.relative: 'relative' is not an absolute path" in result.stderr


def test_a_trusted_projects_settings_are_not_taken_in_silence(home: Household) -> None:
    config, project = Path(home.codex_home) / "config.toml", Path(home.workspace) / ".codex"
    config.write_text(f'[projects."{home.workspace}"]\ntrust_level = "trusted"\n')
    project.mkdir()
    (project / "config.toml").write_text('default_permissions = ":danger-full-access"\n')
    try:
        result = home.run("sandbox", "--", "true")
    finally:
        config.unlink()
    assert result.returncode == 2
    assert f"error: {os.path.realpath(project)}/config.toml: default_permissions" in result.stderr


@pytest.mark.parametrize("profile", [":read-only", ":workspace", ":danger-full-access"])
def test_what_must_stay_outside_is_not_shown_by_any_profile(home: Household, profile: str) -> None:
    assert home.run("sandbox", "--", "true").returncode == 0, "which makes what is not there yet"
    paths = [f"{home.codex_home}/auth.json", *(f"{home.immure_home}/{name}" for name in ("config", "state", "run"))]
    for path in paths:
        assert os.path.exists(path), "the control: outside they are there"
    result = home.run("sandbox", "-P", profile, "--", "sh", "-c", f'for path in {" ".join(paths)}; do cat "$path" || ls "$path/"; done')
    assert (result.returncode, result.stdout) == (2, "")


def test_a_home_that_holds_a_login_cannot_be_written(home: Household) -> None:
    result = home.run("sandbox", "-P", ":workspace", "-C", home.home, "--", "true")
    assert result.returncode == 2
    assert "[workspace.holds-secrets]" in result.stderr


def test_a_network_is_the_gates(home: Household, fake: FakeOpenAI) -> None:
    result = home.run("--allow", EAR, "sandbox", *NETWORK, "--", "sh", "-c", f'echo "$({" ".join(ASK)} https://{EAR}/asked)"')
    assert (result.stdout, fake.record.all(path="/asked") != []) == ("200\n", True)
    assert home.run("--allow", EAR, "sandbox", *NETWORK, "--", *ASK, f"https://{OTHER_EAR}/asked").stdout == "403"
    without = home.run("--allow", EAR, "sandbox", "-P", ":workspace", "--", *ASK, f"https://{EAR}/never")
    assert (without.returncode, fake.record.all(path="/never")) == (6, [])


def test_a_socket_of_the_host_is_reached_only_by_name(home: Household) -> None:
    with socket.socket(socket.AF_UNIX) as served:
        served.bind(f"{home.workspace}/served")
        os.chmod(f"{home.workspace}/served", stat.S_IRWXU | stat.S_IRWXO)
        served.listen()
        assert home.run("sandbox", *NETWORK, "--allow-unix-socket", "served", "--", *CONNECT).returncode == 0
        assert "ConnectionRefused" in home.run("sandbox", *NETWORK, "--", *CONNECT).stderr
        assert "PermissionError" in home.run("sandbox", "-P", ":workspace", "--", *CONNECT).stderr
        refused = home.run("sandbox", "-P", ":workspace", "--allow-unix-socket", "served", "--", "true")
    assert refused.returncode == 2
    assert "[usage.socket]" in refused.stderr
