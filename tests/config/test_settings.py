"""Settings: what a file means, and for each mistake one error that names file, key and remedy."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from immure.config.settings import Settings, Upstream, load_settings
from immure.errors import UsageError
from immure.model import Limits
from immure.model.limits import UNLIMITED


@pytest.fixture(scope="module")
def certificate_and_key() -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    today = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), today, today + timedelta(days=9000))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_no_file_and_an_empty_file_are_the_defaults(config: Path) -> None:
    assert load_settings(str(config)) == Settings()
    config.write_text("# nothing yet\n")
    assert load_settings(str(config)) == Settings(upstreams=(), telemetry=False, sign_in_inside="ask")


def test_everything_that_can_be_said(config: Path, certificate_and_key: tuple[str, str]) -> None:
    ca = config.with_name("ca.pem")
    ca.write_text(certificate_and_key[0] * 2)
    config.write_text(f"""
        [[upstream]]
        host = "API.OpenAI.com."
        address = "127.0.0.1:8443"
        ca = "{ca}"

        [[upstream]]
        host = "chatgpt.com"
        address = "[::1]:443"

        [codex]
        telemetry = true
        sign_in_inside = "always"

        [workspace]
        hide = [".env", "*.pem"]
        unprotect = ["vscode"]

        [limits]
        pids = 100
        memory = "4G"
        cpus = 1.5
        file_size = "unlimited"
    """)
    assert load_settings(str(config)) == Settings(
        upstreams=(
            Upstream(host="api.openai.com", address="127.0.0.1", port=8443, ca_pem=certificate_and_key[0] * 2),
            Upstream(host="chatgpt.com", address="::1", port=443, ca_pem=None),
        ),
        telemetry=True,
        sign_in_inside="always",
        hide=(".env", "*.pem"),
        unprotect=("vscode",),
        limits=Limits(pids=100, memory=4 << 30, cpus=1.5, file_size=UNLIMITED),
    )


def test_a_key_beside_the_certificate_is_left_where_it_is(config: Path, certificate_and_key: tuple[str, str]) -> None:
    ca = config.with_name("ca.pem")
    certificate, key = certificate_and_key
    ca.write_bytes(f"subject=gateway é\n{key}{certificate}".replace("\n", "\r\n").rstrip().encode())
    config.write_text(f'[[upstream]]\nhost = "a.com"\naddress = "127.0.0.1:1"\nca = "{ca}"\n')
    assert load_settings(str(config)).upstreams[0].ca_pem == certificate


UPSTREAM = '[[upstream]]\nhost = "a.com"\naddress = "127.0.0.1:1"\n'
MISTAKES = {
    "not TOML": ("[codex\n", "is not TOML", "toml.io"),
    "not text": ("\udcff", "is not TOML", "toml.io"),
    "a key given twice": ("[codex]\ntelemetry = true\ntelemetry = false\n", "is not TOML", "toml.io"),
    "an unknown table": ("[codexx]\n", "codexx: unknown key", "did you mean 'codex'?"),
    "an unknown key": ("[codex]\ntelemtry = true\n", "codex: telemtry: unknown key", "did you mean 'telemetry'?"),
    "a key of nothing known": ("zzz = 1\n", "zzz: unknown key", "known keys: upstream, codex, workspace, limits"),
    "an unknown key of an upstream": (UPSTREAM + "port = 1\n", "upstream 1: port: unknown key", "known keys: host, address, ca"),
    "a text for a truth": ('[codex]\ntelemetry = "no"\n', "codex: telemetry: not true or false: 'no'", "give true or false"),
    "a word that is none of them": (
        '[codex]\nsign_in_inside = "yes"\n',
        "codex: sign_in_inside: not one of",
        'give one of "always", "ask", "never"',
    ),
    "a truth for a word": ("[codex]\nsign_in_inside = true\n", "sign_in_inside: not one of", 'give one of "always"'),
    "a number for a truth": ("[codex]\ntelemetry = 0\n", "telemetry: not true or false", "give true or false"),
    "a text for texts": ('[workspace]\nhide = ".env"\n', "workspace: hide: not an array of texts: '.env'", "an array"),
    "a number among texts": ("[workspace]\nhide = [1]\n", "workspace: hide: not a text: 1", "quotes"),
    "an unknown limit": ("[limits]\npid = 5\n", "limits: pid: unknown key", "did you mean 'pids'?"),
    "a limit that is none": ("[limits]\npids = true\n", "limits: pids: not an amount: True", "whole number"),
    "a size without a number": ('[limits]\nmemory = "much"\n', "limits: memory: not an amount: 'much'", "512M or 4G"),
    "a value for a table": ("codex = true\n", "codex: not a table", "a table"),
    "a table for an array": ('[upstream]\nhost = "a.com"\n', "upstream: not an array of tables", "[[upstream]]"),
    "an array of something else": ("upstream = [1]\n", "upstream 1 must be a table", "[[upstream]]"),
    "no host": ('[[upstream]]\naddress = "127.0.0.1:1"\n', "upstream 1: host: missing", "host name in quotes"),
    "no address": ('[[upstream]]\nhost = "a.com"\n', "upstream 1: address: missing", "127.0.0.1:8443"),
    "a number for a host": ('[[upstream]]\nhost = 1\naddress = "127.0.0.1:1"\n', "host: not a host name", "in quotes"),
    "a URL for a host": ('[[upstream]]\nhost = "https://a.com"\naddress = "127.0.0.1:1"\n', "not a host name", "without scheme"),
    "a wildcard for a host": ('[[upstream]]\nhost = "*.a.com"\naddress = "127.0.0.1:1"\n', "not a host name", "wildcard"),
    "an address without port": ('[[upstream]]\nhost = "a.com"\naddress = "127.0.0.1"\n', "address: not a port: 0", "127.0.0.1:8443"),
    "a bare IPv6 address": ('[[upstream]]\nhost = "a.com"\naddress = "::1"\n', "address: write an IPv6 address in brackets", "[::1]:8443"),
    "a port out of range": ('[[upstream]]\nhost = "a.com"\naddress = "127.0.0.1:65536"\n', "address: not a port", "127.0.0.1:8443"),
    "a name for an address": ('[[upstream]]\nhost = "a.com"\naddress = "localhost:1"\n', "localhost is a name", "127.0.0.1:8443"),
    "a short spelling of an address": ('[[upstream]]\nhost = "a.com"\naddress = "127.1:1"\n', "address: ", "127.0.0.1:8443"),
    "one host twice": (UPSTREAM + UPSTREAM.replace("a.com", "A.com."), "upstream 2: host: a.com has an [[upstream]] already", "keep one"),
    "a relative CA": (UPSTREAM + 'ca = "ca.pem"\n', "ca: 'ca.pem' is not an absolute path", "from the root"),
    "an empty CA": (UPSTREAM + 'ca = ""\n', "ca: '' is not an absolute path", "from the root"),
    "a CA that is not there": (UPSTREAM + 'ca = "/nonexistent/ca.pem"\n', "/nonexistent/ca.pem cannot be read: No such file", "ls -l"),
    "a CA that is a directory": (UPSTREAM + 'ca = "/"\n', "/ cannot be read: Is a directory", "ls -l"),
    "a CA that holds nothing": (UPSTREAM + 'ca = "/dev/null"\n', "/dev/null holds no certificate", "openssl x509"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named_with_its_remedy(config: Path, case: str) -> None:
    content, what, hint = MISTAKES[case]
    config.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError) as caught:
        load_settings(str(config))
    assert str(caught.value).startswith(f"{config}: ")
    assert what in str(caught.value)
    assert hint in caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_damaged_certificate_is_found_here_and_not_in_the_gate(config: Path, certificate_and_key: tuple[str, str]) -> None:
    ca = config.with_name("ca.pem")
    config.write_text(UPSTREAM + f'ca = "{ca}"\n')
    for damaged in (certificate_and_key[0].replace("M", "N", 1), certificate_and_key[1]):
        ca.write_text(damaged)
        with pytest.raises(UsageError, match="holds no certificate, or one that is damaged"):
            load_settings(str(config))


def test_a_file_that_cannot_be_read_is_an_error_and_not_the_defaults(config: Path) -> None:
    config.mkdir()
    with pytest.raises(UsageError, match="cannot be read: Is a directory") as caught:
        load_settings(str(config))
    assert caught.value.hint
