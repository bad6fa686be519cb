"""Which script an interpreter runs, by its own words.

The words of a process (/proc/PID/cmdline) lie in its own memory, where it can write what it likes. So a script is named, for people,
and nothing is decided by it.

    python3 -u x.py --fast     x.py            bash ./build.sh      ./build.sh
    python3 -m pip install     -m pip          bash -lc "make all"  (nothing: code has no name)
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

LONGEST: Final = 256
"""Characters of a script's name."""

_VERSION = r"[\d.]*"
_SHELL = (frozenset(["-c"]), frozenset(["-o", "-O", "+o", "+O", "--rcfile", "--init-file"]))
_INTERPRETERS: Final = {
    # program → (options with code of their own in place of a script, options whose value is the next word)
    rf"(?:python|pypy){_VERSION}": (frozenset(["-c", "-m"]), frozenset(["-W", "-X", "--check-hash-based-pycs"])),
    rf"node(?:js)?{_VERSION}": (
        frozenset(["-e", "--eval", "-p", "--print"]),
        frozenset(["-r", "--require", "--import", "-C", "--conditions", "--env-file", "--loader"]),
    ),
    rf"(?:perl|ruby){_VERSION}": (frozenset(["-e", "-E"]), frozenset(["-I", "-C"])),
    rf"(?:php|lua|luajit|Rscript|tclsh){_VERSION}": (frozenset(["-r", "-e"]), frozenset(["-c", "-d", "-l"])),
    r"(?:ba|da|a|z|k|mk|fi)?sh": _SHELL,
}
_NAMES = [(re.compile(pattern), options) for pattern, options in _INTERPRETERS.items()]


def is_interpreter(path: str) -> bool:
    """Whether a program of that path is known to run scripts."""
    return _options(path) is not None


def script_of(path: str, words: Sequence[str]) -> str:
    """What an interpreter at `path` says it runs: a script by the path that was given, or a module; empty if it is neither.

    For a file that begins with `#!` the kernel itself puts the script's path among the words (execve(2)).
    """
    options = _options(path)
    if options is None:
        return ""
    inline, valued = options
    rest = iter(words[1:])
    for word in rest:
        if word == "--":
            return next(rest, "")[:LONGEST]
        if word == "-" or not word.startswith(("-", "+")):
            return word[:LONGEST]
        for option, attached in _parts(word):
            if option in inline:
                return f"-m {attached or next(rest, '')}".rstrip()[:LONGEST] if option == "-m" else ""
            if option in valued:
                if not attached:
                    next(rest, None)
                break
    return ""


def _parts(word: str) -> Iterator[tuple[str, str]]:
    """The options in a word, each with what follows it there: `-lc` is -l and -c, `-mpip` is -m with pip."""
    if word.startswith("--"):
        option, _, value = word.partition("=")
        yield option, value
        return
    for index, letter in enumerate(word[1:], 2):
        yield word[0] + letter, word[index:]


@lru_cache(maxsize=256)
def _options(path: str) -> tuple[frozenset[str], frozenset[str]] | None:
    name = path.rpartition("/")[2].removesuffix(" (deleted)")
    return next((options for pattern, options in _NAMES if pattern.fullmatch(name)), None)
