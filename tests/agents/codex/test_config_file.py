"""What of the user's config.toml goes in, what does not, and what is added."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.agents.codex.config_file import sandbox_config
from immure.errors import UsageError

KNOWN = ("fake-known-secret", "acct-0000")

# a file that must go in as it is
KEPT = [
    'model = "gpt-5.5"\nmodel_reasoning_effort = "high"',
    "tool_output_token_limit = 4000\nmodel_context_window = 1.5",
    '[mcp_servers.web]\nurl = "https://mcp.example.com/mcp"\nbearer_token_env_var = "MCP_TOKEN"',
    '[mcp_servers.web]\nurl = "https://mcp.example.com/mcp"\nenv_http_headers = { X-Api-Key = "MCP_KEY" }',
    '[mcp_servers.st]\ncommand = "/usr/bin/python3"\nargs = ["-m", "x", "--token-file", "y"]\nenv_vars = ["MCP_TOKEN"]',
    '[model_providers.own]\nbase_url = "https://llm.example.com:8443/v1"\nenv_key = "OWN_API_KEY"',
    '[projects."/home/ann/token-service"]\ntrust_level = "trusted"',
    '[permissions.lab.filesystem]\n"/home/ann/.secrets" = "deny"\n":minimal" = "read"',
    '[shell_environment_policy]\nexclude = ["*TOKEN*", "AWS_*"]\ninherit = "core"',
    'developer_instructions = "Explain basic understanding of at-least-one-of-these-long-words before any bearer authentication."',
    '[[skills.config]]\npath = "/home/ann/skills/one"\nenabled = true',
    '[hooks.state."a"]\ntrusted_hash = "sha256:0000000000000000000000000000000000000000000000000000000000000000"',
    "started = 2026-11-20T13:33:17Z",
]

# a file, and the settings of it that stay outside
LEFT_OUT = [
    ('[mcp_servers.web]\nurl = "u"\nhttp_headers = { X = "1" }', ["mcp_servers.web.http_headers"]),
    ('[mcp_servers.st]\ncommand = "c"\n[mcp_servers.st.env]\nFOO = "bar"', ["mcp_servers.st.env"]),
    ('[model_providers.p]\nquery_params = { api-version = "1" }', ["model_providers.p.query_params"]),
    ('[otel.exporter.otlp-http]\nendpoint = "e"\nheaders = { x = "1" }', ["otel.exporter.otlp-http.headers"]),
    ('[shell_environment_policy]\nset = { A = "1" }', ["shell_environment_policy.set"]),
    ('[model_providers.p]\nexperimental_bearer_token = "x"', ["model_providers.p.experimental_bearer_token"]),
    ('[mcp_servers.web.oauth]\nclient_id = "i"\nclient_secret = "x"', ["mcp_servers.web.oauth.client_secret"]),
    ('a = { b = { "api-key" = "x", password = "y", Authorization = "z" } }', ["a.b.api-key", "a.b.password", "a.b.Authorization"]),
    ('note = "it is fake-known-secret, see"', ["note"]),
    ('note = ["one", ["two", "acct-0000"]]', ["note"]),
    ('note = "Bearer 00001111"', ["note"]),
    ('note = "eyJhbGciOiJub25l.eyJzdWIiOiIw.c2ln"', ["note"]),
    ('note = "sk-proj-0000fake0000fake0000"', ["note"]),
    ('note = "ghp_000000fake000000fake"', ["note"]),
    ('note = "Zm9vYmFyZm9vYmFyZm9vYmFyZm9vYmFyMDEyMzQ1"', ["note"]),
    ('note = "https://ann:pw@host.example/"', ["note"]),
    ('note = "-----BEGIN OPENSSH PRIVATE KEY-----"', ["note"]),
    ('[[list]]\nname = "kept"\n[[list]]\nsecret = "x"', ["list.secret"]),
    ('[list."fake-known-secret"]\nx = 1', ["list.(a name that looks like a token)"]),
    ('mixed = [[{ token = "x" }]]', ["mixed.token"]),
]

# a file, a setting, its value inside
QUIET = [
    ("", "check_for_update_on_startup", False),
    ("", "analytics.enabled", False),
    ("", "features.apps", False),
    ("", "features.plugins", False),
    ("", "features.api_key_model_discovery", False),
    ("", "features.daemon_auto_start", False),
    ("", "cli_auth_credentials_store", "file"),
    ("check_for_update_on_startup = true", "check_for_update_on_startup", True),
    ("[analytics]\nenabled = true", "analytics.enabled", True),
    ("[features]\nplugins = true", "features.plugins", True),
    ("[features]\nplugins = true", "features.apps", False),
    ("[features]\ndaemon_auto_start = true", "features.daemon_auto_start", False),
    ('cli_auth_credentials_store = "keyring"', "cli_auth_credentials_store", "file"),
]


def inside(text: str, **options: bool) -> dict[str, object]:
    return tomllib.loads(sandbox_config(text, KNOWN, **options).content.decode())  # type: ignore[arg-type]


def setting(document: object, name: str) -> object:
    for part in name.split("."):
        document = document[part]  # type: ignore[index]
    return document


@pytest.mark.parametrize("text", KEPT)
def test_what_is_no_secret_goes_in_as_it_is(text) -> None:
    config = sandbox_config(text, KNOWN)
    assert config.left_out == ()
    document = tomllib.loads(config.content.decode())
    for name, value in tomllib.loads(text).items():
        assert document[name] == value


@pytest.mark.parametrize(("text", "names"), LEFT_OUT)
def test_what_may_be_a_secret_stays_outside_and_is_named(text, names) -> None:
    config = sandbox_config(text, KNOWN)
    assert list(config.left_out) == names
    for value in "fake", "00001111", "acct", "eyJ", ":pw@", "PRIVATE", "bar", "Zm9v", '"x"':
        assert value not in config.content.decode()


@pytest.mark.parametrize(("text", "name", "value"), QUIET)
def test_codex_is_quiet_unless_the_user_said_otherwise(text, name, value) -> None:
    assert setting(inside(text), name) == value


def test_metrics_that_were_allowed_are_left_to_codex() -> None:
    assert "analytics" not in inside("", telemetry=True)


@pytest.mark.parametrize("need", ['args = ["--key", "fake-known-secret"]', 'command = "fake-known-secret"', 'url = "https://a:b@c/"'])
def test_a_server_that_lost_what_it_needs_does_not_go_in(need) -> None:
    text = f'[mcp_servers.one]\n{need}\n[mcp_servers.two]\ncommand = "c"'
    config = sandbox_config(text, KNOWN)
    assert tomllib.loads(config.content.decode())["mcp_servers"] == {"two": {"command": "c"}}
    assert len(config.left_out) == 1


@pytest.mark.parametrize("text", ["[", "a = ", 'a = "1"\na = "2"', "features = 1", "analytics = []"])
def test_a_file_that_codex_would_refuse_is_refused(text) -> None:
    with pytest.raises(UsageError) as caught:
        sandbox_config(text, KNOWN, path="/home/ann/.codex/config.toml")
    assert caught.value.code == "codex.config"
    assert caught.value.what.startswith("/home/ann/.codex/config.toml is not a Codex configuration: ")


toml_values = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | st.text(st.characters(codec="utf-8"), max_size=12) | st.just("<fake-known-secret>"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abk_-", min_size=1, max_size=6), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["a", "env_key", "mcp_servers", "profiles"]), toml_values, max_size=4))
def test_wherever_a_known_secret_stands_it_stays_outside(document) -> None:
    import tomli_w

    config = sandbox_config(tomli_w.dumps(document), KNOWN)
    assert b"fake-known-secret" not in config.content
    tomllib.loads(config.content.decode())
