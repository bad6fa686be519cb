"""The part of the host that every sandbox sees: the operating system, read-only.

Rule: of /etc only what is listed is shown, because /etc also holds what is nobody's business (network passwords, mail, ssh host keys).
What depends on who one is (users, hosts, resolver) is made, not shown.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from immure.errors import HostError
from immure.sandbox.spec import AGENT_HOME, AGENT_ID, Mount

NAME_SERVER = "100.64.0.1"
"""Any address would do: the gate answers every query to port 53. This is the sandbox's own (launcher/netlink.py)."""

_TOP = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")

_ETC = tuple(
    """
    alternatives bash.bashrc crypto-policies debian_version fonts gitconfig inputrc java-11-openjdk java-17-openjdk java-21-openjdk
    ld.so.cache ld.so.conf locale.conf localtime lsb-release mime.types os-release pki profile protocols services shells ssl timezone
    """.split()
)
"""Directories are mounted, which costs a launch 0.2 ms each; files and links are copied."""

_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Gentoo, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # Alpine, OpenSSL's own default
)

_MADE = {
    "/etc/passwd": f"root:x:0:0:root:/root:/bin/sh\nagent:x:{AGENT_ID}:{AGENT_ID}:agent:{AGENT_HOME}:/bin/bash\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "/etc/group": f"root:x:0:\nagent:x:{AGENT_ID}:\nnogroup:x:65534:\n",
    "/etc/hosts": "127.0.0.1 localhost immure\n::1 localhost ip6-localhost ip6-loopback\n",
    "/etc/resolv.conf": f"nameserver {NAME_SERVER}\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """`mounts` and `links` as in Spec, `copied` files of the host by path; `bundles` are the paths of the CA bundle inside, `roots`
    its contents on the host (PEM)."""

    mounts: tuple[Mount, ...]
    links: tuple[tuple[str, str], ...]
    copied: Mapping[str, bytes]
    bundles: tuple[str, ...]
    roots: bytes

    def files(self, session_ca: str) -> dict[str, bytes]:
        """The made files: identity, resolver, and the host's CA bundle with the session's authority added."""
        made = {**self.copied, **{path: text.encode() for path, text in _MADE.items()}}
        bundle = self.roots.rstrip(b"\n") + b"\n" + session_ca.encode()
        return made | dict.fromkeys(self.bundles, bundle)


def inspect() -> System:
    """Look at the host. Cheap enough to be done for every sandbox, so that an updated system is seen at once."""
    mounts = [Mount.same("/usr")]
    links = []
    for name in _TOP:
        path = "/" + name
        if os.path.islink(path):
            links.append((os.readlink(path), path))
        elif os.path.isdir(path):
            mounts.append(Mount.same(path))
    copied = {}
    for name in _ETC:
        path = f"/etc/{name}"
        if os.path.islink(path):
            links.append((os.readlink(path), path))
        elif os.path.isdir(path):
            mounts.append(Mount.same(path))
        elif os.path.exists(path):
            copied[path] = _read(path)
    bundles = list(dict.fromkeys(os.path.realpath(path) for path in _BUNDLES if os.path.isfile(path)))
    roots = _read(bundles[0]) if bundles else b""
    return System(mounts=tuple(mounts), links=tuple(links), copied=copied, bundles=tuple(bundles or _BUNDLES[:1]), roots=roots)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def bubblewrap() -> str:
    """The path of the `bwrap` program. Raises HostError."""
    path = shutil.which("bwrap") or shutil.which("bwrap", path="/usr/local/bin:/usr/bin:/bin")
    if path is None:
        raise HostError(
            "bubblewrap, which builds the sandbox's mount tree, is not installed",
            code="host.no-bubblewrap",
            hint="apt install bubblewrap (Debian, Ubuntu), dnf install bubblewrap (Fedora), pacman -S bubblewrap (Arch)",
        )
    return path
