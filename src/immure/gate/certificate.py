"""The certificate authority of one sandbox, and the leaf certificates it signs as they are needed.

The key is made in the gate and never leaves it: not written, not sent, gone with the process. One key pair serves all leaves, so that
a new host costs one signature and one TLS context, well under 5 ms.

Rules: a leaf names one host, and a handshake for that leaf must name the same host (RFC 6066 section 3), or none if the host is an
address: the name in the handshake, the name in the certificate and the name the connection was opened to are one.

*Trust:* the agent chooses the host. *Fails:* another name in the handshake ends it with an `unrecognized_name` alert.
"""

import os
import ssl
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from immure.channel import memory_file
from immure.model import canonical_host
from immure.model.endpoint import address_of

CACHED_LEAVES: Final = 256
"""TLS contexts kept, the least recently used dropped first; each takes about 40 KiB."""
AUTHORITY_LIFE: Final = timedelta(days=365)
LEAF_LIFE: Final = timedelta(days=7)
"""A leaf is signed anew when half of it has passed. Clients of today refuse leaves of more than 398 days."""
CLOCK_SKEW: Final = timedelta(hours=1)


class Leaf:
    """A certificate for one host in a server context. `offered` is the name of the last handshake that was refused for its name."""

    __slots__ = ("context", "host", "offered", "renew_at")

    def __init__(self, host: str, chain: bytes, renew_at: datetime) -> None:
        self.host = host
        self.renew_at = renew_at
        self.offered = ""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        fd = memory_file("leaf", chain)  # the `ssl` module takes keys from files only
        try:
            self.context.load_cert_chain(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        self.context.set_alpn_protocols(["http/1.1"])
        self.context.num_tickets = 1  # each takes a signature's worth of time to no use: clients here resume once, if at all
        self.context.sni_callback = self._check_name

    def _check_name(self, _: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> int | None:
        if name is None:
            if address_of(self.host) is not None:
                return None
            self.offered = "no name"
        else:
            try:
                if canonical_host(name) == self.host:
                    return None
            except ValueError:
                pass
            self.offered = name
        return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME


class Authority:
    """Signs for one sandbox. `pem` is the certificate to trust inside."""

    def __init__(self, sandbox: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = self._key.public_key()
        self._name = _name(f"immure sandbox {sandbox}"[:64])
        identifier = x509.SubjectKeyIdentifier.from_public_key(public)
        self._authority_identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
        certificate = self._sign(
            self._name,
            public,
            AUTHORITY_LIFE,
            [
                (x509.BasicConstraints(ca=True, path_length=0), True),
                (_usage(certificates=True), True),
                (identifier, False),
            ],
        )
        self.pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._leaf_public = self._leaf_key.public_key()
        self._leaf_identifier = x509.SubjectKeyIdentifier.from_public_key(self._leaf_public)
        self._leaf_key_pem = self._leaf_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._leaves: OrderedDict[str, Leaf] = OrderedDict()

    def leaf(self, host: str) -> Leaf:
        """The leaf of a canonical host."""
        leaf = self._leaves.get(host)
        if leaf is None or leaf.renew_at < datetime.now(UTC):
            leaf = self._leaves[host] = self._mint(host)
            if len(self._leaves) > CACHED_LEAVES:
                self._leaves.popitem(last=False)
        self._leaves.move_to_end(host)
        return leaf

    def _mint(self, host: str) -> Leaf:
        address = address_of(host)
        subject = x509.DNSName(host) if address is None else x509.IPAddress(address)
        certificate = self._sign(
            _name(host[:64]),
            self._leaf_public,
            LEAF_LIFE,
            [
                (x509.SubjectAlternativeName([subject]), False),
                (x509.BasicConstraints(ca=False, path_length=None), True),
                (_usage(certificates=False), True),
                (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
                (self._leaf_identifier, False),
                (self._authority_identifier, False),
            ],
        )
        # The root is left out of the chain: whoever trusts it has it.
        chain = self._leaf_key_pem + certificate.public_bytes(serialization.Encoding.PEM)
        return Leaf(host, chain, datetime.now(UTC) + LEAF_LIFE / 2)

    def _sign(
        self, subject: x509.Name, public: ec.EllipticCurvePublicKey, life: timedelta, extensions: Sequence[tuple[x509.ExtensionType, bool]]
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + life)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, hashes.SHA256())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
