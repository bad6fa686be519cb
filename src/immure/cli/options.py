"""The options of a launch, in one table that two readers share.

`read` understands the well-formed command lines that people type all day and nothing else; whatever it does not understand goes to
click, which is built from the same table and has the words for help, errors and completion (cli/application.py). A property test
holds that both read the same thing.

Rule: imports nothing.
"""


class Option:
    """One option: its spellings, what its value is called ("" for one without), whether it may be repeated, and its help."""

    __slots__ = ("help", "many", "metavar", "name", "spellings")

    def __init__(self, name: str, spellings: "tuple[str, ...]", metavar: str, help: str, *, many: bool = False) -> None:  # noqa: A002
        self.name = name
        self.spellings = spellings
        self.metavar = metavar
        self.help = help
        self.many = many


LAUNCH = (
    Option("provider", ("--provider",), "NAME", "Attach a provider's credentials and rules, as placeholders (codex).", many=True),
    Option("allow", ("--allow",), "HOST[:PORT]", "Let any program inside reach this endpoint (port 443 if none is given).", many=True),
    Option("policy", ("--policy",), "FILE", "Rules in a YAML file."),
    Option("workspace", ("-w", "--workspace"), "DIR", "The writable directory, at its own path inside. [default: the current one]"),
    Option("ro", ("--ro",), "PATH", "Show a path of the host read-only.", many=True),
    Option("rw", ("--rw",), "PATH", "Show a path of the host writable.", many=True),
    Option("env", ("--env",), "NAME[=VALUE]", "Set a variable inside; without a value, pass yours on.", many=True),
    Option("hide", ("--hide",), "PATTERN", "Hide files of the workspace: a name (.env, *.pem) or a path below it.", many=True),
    Option("unprotect", ("--unprotect",), "NAME", "Let a protected path of the workspace be written, by its name.", many=True),
    Option("pids", ("--pids",), "N", "Allow so many processes and threads. [default: 4096]"),
    Option("memory", ("--memory",), "SIZE", "Allow so much memory (4G); needs cgroup v2. [default: unlimited]"),
    Option("cpus", ("--cpus",), "N", "Allow so many processors (1.5); needs cgroup v2. [default: unlimited]"),
    Option("file_size", ("--file-size",), "SIZE", "Let no file grow beyond this (1G). [default: unlimited]"),
    Option("open_files", ("--open-files",), "N", "Let a process open so many files. [default: 65536]"),
    Option("log_denials", ("--log-denials",), "", "At the end, list what was denied: connections, and changes of files."),
)

_BY_SPELLING = {spelling: option for option in LAUNCH for spelling in option.spellings}

Values = dict[str, "str | list[str] | bool | None"]


def empty() -> Values:
    return {option.name: [] if option.many else None if option.metavar else False for option in LAUNCH}


def read(argv: "list[str]") -> "tuple[str, Values, list[str]] | None":
    """(verb, option values, command) of `[OPTION VALUE]… codex ARG…` or `[OPTION VALUE]… run [OPTION VALUE]… [--] CMD…`; else None."""
    values = empty()
    start = _take(argv, 0, values)
    if start >= len(argv):
        return None
    verb = argv[start]
    if verb == "codex":
        return verb, values, argv[start + 1 :]
    if verb != "run":
        return None
    start = _take(argv, start + 1, values)
    command = argv[start:]
    if command[:1] == ["--"]:
        command = command[1:]
    elif command and command[0].startswith("-"):
        return None
    return (verb, values, command) if command else None


def _take(argv: "list[str]", start: int, values: Values) -> int:
    """Read leading options into `values`; returns the index of the first word that is not one, or stops where it does not understand."""
    while start < len(argv):
        option = _BY_SPELLING.get(argv[start])
        if option is not None and not option.metavar:
            values[option.name] = True
            start += 1
            continue
        if option is None or start + 1 >= len(argv):
            return start
        value = argv[start + 1]
        if option.many:
            values[option.name].append(value)  # type: ignore[union-attr]
        elif values[option.name] is not None:
            return start
        else:
            values[option.name] = value
        start += 2
    return start
