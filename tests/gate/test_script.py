"""What an interpreter runs, by its words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.gate.script import LONGEST, is_interpreter, script_of

SCRIPTS = [
    # program, words, script
    ("/usr/bin/python3.11", "python3 x.py", "x.py"),
    ("/usr/bin/python3.11", "/usr/bin/python3 -u -Wd ./x.py --fast", "./x.py"),
    ("/usr/bin/python3.11", "python3 -W ignore -X dev x.py", "x.py"),
    ("/usr/bin/python3.11", "python3 -m pip install requests", "-m pip"),
    ("/usr/bin/python3.11", "python3 -Impip install", "-m pip"),
    ("/usr/bin/python3.11", "python3 -c print(1) x.py", ""),
    ("/usr/bin/python3.11", "python3 -Ic print(1)", ""),
    ("/usr/bin/python3.11", "python3 -", "-"),
    ("/usr/bin/python3.11", "python3", ""),
    ("/usr/bin/python3.11", "", ""),
    ("/usr/bin/python3.11", "python3 -m", "-m"),
    ("/usr/bin/pypy3", "pypy3 -- -x.py", "-x.py"),
    ("/usr/bin/node", "node --enable-source-maps /usr/bin/npm install", "/usr/bin/npm"),
    ("/usr/bin/node", "node --require ./hook.js --import=x app.js", "app.js"),
    ("/usr/bin/node", "node -pe 1+1", ""),
    ("/usr/bin/node", "node --eval=1+1 app.js", ""),
    ("/usr/bin/bash", "/bin/bash -lc make all", ""),
    ("/usr/bin/bash", "bash -eo pipefail build.sh -c", "build.sh"),
    ("/usr/bin/bash", "-bash", ""),
    ("/usr/bin/dash", "/bin/sh ./configure --prefix=/usr", "./configure"),
    ("/usr/bin/perl", "perl -Ilib -w x.pl", "x.pl"),
    ("/usr/bin/perl (deleted)", "perl x.pl", "x.pl"),
    ("/usr/bin/curl", "curl https://example.com/x.py", ""),
    ("/tmp/mypython", "python3 x.py", ""),
]


@pytest.mark.parametrize(("program", "words", "script"), SCRIPTS)
def test_the_script_is_found_among_the_words(program: str, words: str, script: str) -> None:
    assert script_of(program, words.split()) == script


def test_a_long_name_is_cut() -> None:
    assert script_of("/usr/bin/python3", ["python3", "x" * 5000]) == "x" * LONGEST


@given(st.sampled_from(["/usr/bin/python3", "/usr/bin/node", "/bin/sh", "/usr/bin/perl"]), st.lists(st.text(max_size=8), max_size=6))
def test_any_words_have_a_name_of_bounded_length(program: str, words: list[str]) -> None:
    assert is_interpreter(program)
    assert len(script_of(program, words)) <= LONGEST
