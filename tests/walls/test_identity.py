"""Who may reach a host is a program file, not a name: what only looks like it is refused, and the far side hears nothing."""

import os
import shutil
from pathlib import Path

import pytest
from far_side import EAR

from immure.testing.household import Household
from immure.testing.openai.service import FakeOpenAI

CURL = os.path.realpath(shutil.which("curl") or "/usr/bin/curl")
POLICY = f"version: 1\nrules:\n  - name: only curl\n    endpoints: [{EAR}]\n    binaries: [{CURL}]\n"
ASK = f'"$@" --silent --output /dev/null --write-out "%{{http_code}}" https://{EAR}/asked'
PYTHON = f"import urllib.request as u; print(u.urlopen('https://{EAR}/asked').status)"
AS_ROOT = "unshare --user --map-root-user --mount sh -c"

# What pretends to be curl, as a shell script; "$@" is how it is then called.
PRETENDERS = {
    "a copy": "cp {curl} ./curl; set -- ./curl; {ask}",
    "a copy of the same name elsewhere on PATH": "mkdir bin; cp {curl} bin/curl; PATH=$PWD/bin:$PATH; set -- curl; {ask}",
    "a copy named by argv[0]": "cp {curl} other; set -- bash -c 'exec -a {curl} ./other \"$@\"' -; {ask}",
    "a copy in the place of the program": "cp {curl} copy; {root} 'mount --bind copy {curl}; set -- {curl}; {quoted}'",
    "a tree in the place of the system": (
        "mkdir -p tree/bin; cp {curl} tree/bin/; ln -s /tmp/lib tree/lib; ln -s /tmp/lib64 tree/lib64; "
        "{root} 'mount --rbind /usr /tmp; mount --bind tree /usr; set -- /usr/bin/curl; {quoted}'"
    ),
    "a script that curl is named in": "printf '#!/usr/bin/python3\\n%s\\n' \"{python}\" > curl; chmod +x curl; ./curl 2>&1",
    "a program started by curl's name in the command line": 'python3 -c "{python}" {curl} 2>&1',
}
# How the program itself is started; it stays itself.
ITSELF = {
    "by its path": "set -- {curl}; {ask}",
    "by a symbolic link": "ln -s {curl} link; set -- ./link; {ask}",
    "as a child of a child": 'set -- sh -c \'sh -c "{curl} \\"\\$@\\"" - "$@"\' -; {ask}',
    "in a sandbox within": "set -- bwrap --bind / / --proc /proc --dev /dev --unshare-user --unshare-pid {curl}; {ask}",
    "as root of a nested namespace": "set -- unshare --user --map-root-user {curl}; {ask}",
}


@pytest.fixture
def policy(home: Household) -> str:
    path = Path(home.home) / "policy.yaml"
    path.write_text(POLICY)
    return str(path)


def run(home: Household, policy: str, script: str) -> str:
    filled = script.format(curl=CURL, ask=ASK, root=AS_ROOT, quoted=ASK, python=PYTHON)
    return home.run("run", "--policy", policy, "--", "bash", "-c", filled).stdout


@pytest.mark.parametrize("script", ITSELF.values(), ids=ITSELF)
def test_the_named_program_is_let_through_however_it_is_started(script: str, home: Household, policy: str, fake: FakeOpenAI) -> None:
    assert run(home, policy, script) == "200"
    assert [one.path for one in fake.record.all(host=EAR)] == ["/asked"]


@pytest.mark.parametrize("script", PRETENDERS.values(), ids=PRETENDERS)
def test_what_looks_like_it_is_refused(script: str, home: Household, policy: str, fake: FakeOpenAI) -> None:
    said = run(home, policy, script)
    assert "403" in said, "it did ask, and was told why not"
    assert fake.record.all() == []
