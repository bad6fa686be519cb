"""Certificates as strict clients want them, the time they take, and the names a handshake may give."""

import ssl
import subprocess
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from immure.gate.certificate import CACHED_LEAVES, Authority

HOSTS = ["api.example.com", "a" * 63 + "." + "b" * 63 + "." + "c" * 63 + ".example", "x_y.example", "192.0.2.7", "2001:db8::7"]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("test")


def handshake(
    authority: Authority, host: str, server_name: str | None, *, check: bool = True, trusted: Authority | None = None
) -> x509.Certificate:
    """A client's verified handshake in memory; the leaf it was shown."""
    context = ssl.create_default_context(cadata=(trusted or authority).pem)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.check_hostname = check
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(down, up, server_hostname=server_name)
    server = authority.leaf(host).context.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    shown = client.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown)


@pytest.mark.parametrize("host", HOSTS)
def test_a_strict_client_accepts_the_leaf_of_a_host(authority: Authority, host: str) -> None:
    leaf = handshake(authority, host, host)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    try:
        assert names.get_values_for_type(x509.IPAddress) == [ip_address(host)]
    except ValueError:
        assert names.get_values_for_type(x509.DNSName) == [host]


def test_a_leaf_has_what_clients_look_for(authority: Authority) -> None:
    root = x509.load_pem_x509_certificate(authority.pem.encode())
    leaf = handshake(authority, HOSTS[0], HOSTS[0])
    extension = leaf.extensions.get_extension_for_class
    subject_identifier = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert extension(x509.AuthorityKeyIdentifier).value.key_identifier == subject_identifier.key_identifier
    assert extension(x509.SubjectKeyIdentifier)
    assert list(extension(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not extension(x509.BasicConstraints).value.ca
    assert extension(x509.KeyUsage).value.digital_signature
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days < 398
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_openssl_agrees(authority: Authority, tmp_path: object) -> None:
    for name, pem in (("root", authority.pem.encode()), ("leaf", handshake(authority, HOSTS[0], HOSTS[0]).public_bytes(Encoding.PEM))):
        with open(f"{tmp_path}/{name}.pem", "wb") as file:
            file.write(pem)
    options = ["-x509_strict", "-purpose", "sslserver", "-verify_hostname", HOSTS[0], "-CAfile", f"{tmp_path}/root.pem"]
    ran = subprocess.run(["openssl", "verify", *options, f"{tmp_path}/leaf.pem"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(("host", "name"), [(HOSTS[0], "evil.example.com"), (HOSTS[0], None), ("192.0.2.7", "api.example.com")])
def test_another_name_in_the_handshake_ends_it(authority: Authority, host: str, name: str | None) -> None:
    with pytest.raises(ssl.SSLError):
        handshake(authority, host, name, check=False)
    assert authority.leaf(host).offered == (name or "no name")


def test_an_address_needs_no_name_in_the_handshake(authority: Authority) -> None:
    assert handshake(authority, "192.0.2.7", None, check=False)


def test_two_authorities_have_nothing_in_common(authority: Authority) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(authority, HOSTS[0], HOSTS[0], trusted=Authority("test"))


def test_leaves_are_kept_but_not_for_ever() -> None:
    authority = Authority("test")
    first = authority.leaf("first.example.com")
    for number in range(CACHED_LEAVES - 1):
        authority.leaf(f"host{number}.example.com")
    assert authority.leaf("first.example.com") is first
    authority.leaf("one-more.example.com")
    assert authority.leaf("first.example.com") is first, "the one used last was dropped"
    authority.leaf("two-more.example.com")
    assert authority.leaf("host0.example.com") is not None
