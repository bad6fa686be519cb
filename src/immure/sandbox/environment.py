"""The environment of the program inside: made afresh, from names that are known to be harmless. [pure]

Rule: a variable of yours goes in only if it is listed here or named with `--env`.
"""

from collections.abc import Iterable, Mapping

from immure.sandbox.spec import AGENT_HOME

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

PASSED = frozenset(
    """
    TERM COLORTERM TERM_PROGRAM TERM_PROGRAM_VERSION NO_COLOR FORCE_COLOR CLICOLOR CLICOLOR_FORCE
    LANG LANGUAGE TZ EDITOR VISUAL PAGER RUST_LOG
    """.split()
)
"""How a terminal looks and which language you speak; `LC_*` too."""

CA_VARIABLES = (
    "SSL_CERT_FILE",
    "CODEX_CA_CERTIFICATE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "DENO_CERT",
    "AWS_CA_BUNDLE",
)
"""Where programs that do not read the system's CA bundle look for one."""


def passed(name: str) -> bool:
    """Whether a variable of the caller goes in without being asked for."""
    return name in PASSED or name.startswith("LC_")


def environment(
    caller: Mapping[str, str], *, ca_bundle: str, path: Iterable[str] = (), extra: Iterable[Mapping[str, str]] = ()
) -> dict[str, str]:
    """The variables inside. `path` goes before the system's; the mappings of `extra` override in order."""
    made = {name: value for name, value in caller.items() if passed(name)}
    made.update(dict.fromkeys(CA_VARIABLES, ca_bundle))
    made.update(HOME=AGENT_HOME, USER="agent", LOGNAME="agent", SHELL="/bin/bash", IMMURE_SANDBOX="1")
    made["PATH"] = ":".join([*path, PATH])
    for mapping in extra:
        made.update(mapping)
    return made
