"""Which variables go in."""

from immure.sandbox.environment import CA_VARIABLES, environment

CALLER = {
    "TERM": "xterm",
    "LC_TIME": "C",
    "OPENAI_API_KEY": "fake-key-of-the-caller",
    "AWS_SECRET_ACCESS_KEY": "fake",
    "LD_PRELOAD": "/evil.so",
    "HTTPS_PROXY": "http://proxy",
    "SSH_AUTH_SOCK": "/run/ssh",
    "PATH": "/root/bin",
    "HOME": "/root",
}


def test_only_harmless_names_pass() -> None:
    made = environment(CALLER, ca_bundle="/ca.pem")
    assert {"TERM", "LC_TIME"} == made.keys() & CALLER.keys() - {"PATH", "HOME"}
    assert made["HOME"] == "/home/agent"
    assert "/root" not in made["PATH"]


def test_certificate_variables_all_lead_to_the_bundle() -> None:
    made = environment({}, ca_bundle="/ca.pem")
    assert {"/ca.pem"} == {made[name] for name in CA_VARIABLES}
    assert made["IMMURE_SANDBOX"] == "1"


def test_later_mappings_win_and_path_comes_first() -> None:
    made = environment(CALLER, ca_bundle="/ca.pem", path=["/opt/agent/bin"], extra=[{"A": "1", "B": "1"}, {"B": "2", "TERM": "dumb"}])
    assert (made["A"], made["B"], made["TERM"]) == ("1", "2", "dumb")
    assert made["PATH"].startswith("/opt/agent/bin:")
