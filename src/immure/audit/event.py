"""Audit events as JSON lines in the shape of OCSF 1.7 (schema.ocsf.io): a decision, a change to a login, or a finding.

    http_event     class 4002, HTTP Activity: a request, decided, and what became of it
    network_event  class 4001, Network Activity: a connection decided before any request could be read
    login_event    class 3002, Authentication: imported, refreshed, refused, revoked
    finding_event  class 2004, Detection Finding: a request that was refused because of a credential, for whoever watches for such
    file_event     class 1001, File System Activity: an access that was refused inside, if that is watched for

Written for the data path: templates filled by `%`, each text through the escaper of the standard library's JSON encoder, a few
microseconds a line (`json.dumps` of the same object takes several times that).

Rules: every line ends in one line feed and holds no other; credentials are named, never shown; a URL's query is dropped, because
that is where tokens travel.

*Trust:* paths, methods and the names of programs are the agent's, and may hold anything, lone surrogates included. *Fails:* not at
all: every text has an escaped form.
"""

from collections.abc import Sequence
from json.encoder import encode_basestring_ascii as quoted
from typing import Literal

from immure.model import Allow, Caller, Decision, Process
from immure.version import __version__

LoginActivity = Literal[
    "imported",
    "refreshed",
    "refresh-failed",
    "revoked-locally",
    "written-back",
    "write-back-failed",
    "signed-in",
    "signed-out",
    "attached",
    "detached",
    "sign-in-asked",
    "sign-in-refused",
    "task-registered",
    "task-refused",
]

_HEAD = (
    '{"time":%d,"category_uid":%d,"class_uid":%d,"activity_id":%d,"type_uid":%d,"status_id":%d,"status_detail":%s,'
    '"metadata":{"version":"1.7.0","profiles":["host","security_control"],"correlation_uid":%s,'
    f'"product":{{"name":"immure","vendor_name":"immure","version":{quoted(__version__)}}}}}'
)
_DECIDED = ',%s%s,"dst_endpoint":%s,"firewall_rule":{"name":%s,"category":%s}'
_REQUEST = ',"http_request":{"uid":%s,"http_method":%s,"url":{"hostname":%s,"port":%d,"path":%s}}%s,"unmapped":{"credentials":[%s]}}\n'
_RESPONSE = ',"http_response":{"code":%d}'
_CONNECTION = ',"connection_info":{"uid":%s,"protocol_name":"tcp","direction_id":2}}\n'
_FILE = ',"actor":{"process":{"pid":%d,"file":{"name":%s,"path":%s,"type_id":1}}},%s,"activity_name":%s,"file":{"name":%s,"path":%s}}\n'
_LOGIN = ',"severity_id":%d,"activity_name":%s,"user":{"name":%s},"dst_endpoint":%s}\n'
_FINDING = (
    ',"severity_id":%d,"is_alert":true,"action_id":2,"action":"Denied","disposition_id":2,"disposition":"Blocked",'
    '"finding_info":{"uid":%s,"title":%s},"evidences":[{%s"dst_endpoint":%s}],"unmapped":{"credentials":[%s]}}\n'
)
_ACTOR = '"actor":{"process":{"pid":%d,"file":{"name":%s,"path":%s,"type_id":1%s}%s%s}},'
_DIGEST = ',"hashes":[{"algorithm":"SHA-256","algorithm_id":3,"value":"%s"}]'
_SCRIPT = ',"name":%s'
_ANCESTRY = ',"ancestry":[%s]'
_ANCESTOR = '{"pid":%d,"name":%s,"path":%s}'
_ENDPOINT = '{"%s":%s,"port":%d}'

_ALLOWED = '"severity_id":1,"action_id":1,"action":"Allowed","disposition_id":1,"disposition":"Allowed"'
_DENIED = '"severity_id":2,"action_id":2,"action":"Denied","disposition_id":2,"disposition":"Blocked"'

_SUCCESS, _FAILURE = 1, 2
_INFORMATIONAL, _LOW, _HIGH = 1, 2, 4
_OPEN, _REFUSE = 1, 5
_OTHER = 99
_METHODS = {"CONNECT": 1, "DELETE": 2, "GET": 3, "HEAD": 4, "OPTIONS": 5, "POST": 6, "PUT": 7, "TRACE": 8, "PATCH": 9}
_FILE_ACTIVITIES = {"make": 1, "write": 3, "remove": 4, "rename": 5}
_LOGON, _LOGOFF, _RENEW = 1, 2, 5
_CREATE, _NEW = 1, 1
_LOGIN_ACTIVITIES: dict[LoginActivity, tuple[int, int]] = {
    "imported": (_LOGON, _SUCCESS),
    "refreshed": (_RENEW, _SUCCESS),
    "refresh-failed": (_RENEW, _FAILURE),
    "revoked-locally": (_LOGOFF, _SUCCESS),
    "written-back": (_OTHER, _SUCCESS),
    "write-back-failed": (_OTHER, _FAILURE),
    "signed-in": (_LOGON, _SUCCESS),
    "signed-out": (_LOGOFF, _SUCCESS),
    "attached": (_OTHER, _SUCCESS),
    "detached": (_OTHER, _SUCCESS),
    "sign-in-asked": (_OTHER, _SUCCESS),
    "sign-in-refused": (_LOGON, _FAILURE),
    "task-registered": (_OTHER, _SUCCESS),
    "task-refused": (_OTHER, _FAILURE),
}


def http_event(
    *,
    time: int,
    sandbox: str,
    caller: Caller | None,
    host: str,
    port: int,
    method: str,
    path: str,
    status: int | None,
    decision: Decision,
    request_id: str,
    credentials: Sequence[str] = (),
    failure: str = "",
) -> bytes:
    """One request. `time` in milliseconds since the epoch; `status` is the code answered, None if none was.

    `credentials` names those whose secrets went out; `failure` says why an allowed request did not succeed.
    """
    head = _head(time, 4002, _METHODS.get(method, _OTHER), _state(decision, failure), _detail(decision, failure), sandbox)
    request = _REQUEST % (
        quoted(request_id),
        quoted(method),
        quoted(host),
        port,
        quoted(path.partition("?")[0].partition("#")[0]),
        "" if status is None else _RESPONSE % status,
        ",".join(map(quoted, credentials)),
    )
    return (head + _decided(caller, host, port, decision) + request).encode("ascii")


def network_event(
    *,
    time: int,
    sandbox: str,
    caller: Caller | None,
    host: str,
    port: int,
    decision: Decision,
    request_id: str,
    failure: str = "",
) -> bytes:
    """One connection that was decided, or failed, without a request. Arguments as for `http_event`."""
    activity = _OPEN if isinstance(decision, Allow) else _REFUSE
    head = _head(time, 4001, activity, _state(decision, failure), _detail(decision, failure), sandbox)
    return (head + _decided(caller, host, port, decision) + _CONNECTION % quoted(request_id)).encode("ascii")


def login_event(*, time: int, login: str, activity: LoginActivity, host: str, sandbox: str = "", reason: str = "") -> bytes:
    """One change to a login. `host` is where the login belongs; `sandbox` is empty if the change was not made for one."""
    number, state = _LOGIN_ACTIVITIES[activity]
    head = _head(time, 3002, number, state, reason, sandbox)
    severity = _LOW if state == _FAILURE else _INFORMATIONAL
    return (head + _LOGIN % (severity, quoted(activity), quoted(login), _endpoint(host, 443))).encode("ascii")


def finding_event(
    *,
    time: int,
    sandbox: str,
    caller: Caller | None,
    host: str,
    port: int,
    request_id: str,
    title: str,
    credential: str | None,
    reason: str,
) -> bytes:
    """One request that was refused because of a credential in it: `credential` names which, None for one that the sandbox does not hold.

    It stands beside the `http_event` of the same `request_id`.
    """
    head = _head(time, 2004, _CREATE, _NEW, reason, sandbox)
    named = "" if credential is None else quoted(credential)
    return (head + _FINDING % (_HIGH, quoted(request_id), quoted(title), _actor(caller), _endpoint(host, port), named)).encode("ascii")


def file_event(*, time: int, sandbox: str, program: str, pid: int, operation: str, path: str, reason: str) -> bytes:
    """One file access that was refused inside. `operation` is make, write, remove or rename."""
    head = _head(time, 1001, _FILE_ACTIVITIES.get(operation, _OTHER), _FAILURE, reason, sandbox)
    names = [quoted(text) for each in (program, path) for text in (each.rpartition("/")[2], each)]
    return (head + _FILE % (pid, names[0], names[1], _DENIED, quoted(operation), names[2], names[3])).encode("ascii")


def _head(time: int, kind: int, activity: int, state: int, detail: str, sandbox: str) -> str:
    return _HEAD % (time, kind // 1000, kind, activity, kind * 100 + activity, state, quoted(detail), quoted(sandbox))


def _state(decision: Decision, failure: str) -> int:
    return _SUCCESS if isinstance(decision, Allow) and not failure else _FAILURE


def _detail(decision: Decision, failure: str) -> str:
    return failure if isinstance(decision, Allow) else decision.reason


def _decided(caller: Caller | None, host: str, port: int, decision: Decision) -> str:
    outcome = _ALLOWED if isinstance(decision, Allow) else _DENIED
    return _DECIDED % (_actor(caller), outcome, _endpoint(host, port), quoted(decision.rule), quoted(decision.layer))


def _actor(caller: Caller | None) -> str:
    if caller is None:
        return ""
    binary, ancestors = caller.binary, caller.ancestors
    return _ACTOR % (
        caller.pid,
        quoted(binary.path.rpartition("/")[2]),
        quoted(binary.path),
        _DIGEST % binary.digest if binary.digest else "",
        _SCRIPT % quoted(caller.script) if caller.script else "",
        _ANCESTRY % ",".join(map(_ancestor, ancestors)) if ancestors else "",
    )


def _ancestor(process: Process) -> str:
    path = process.binary.path
    return _ANCESTOR % (process.pid, quoted(path.rpartition("/")[2]), quoted(path))


def _endpoint(host: str, port: int) -> str:
    """Of canonical hosts only addresses hold a colon or end in a number; asking `ipaddress` costs more than the whole line."""
    kind = "ip" if ":" in host or host.rpartition(".")[2].isdigit() else "hostname"
    return _ENDPOINT % (kind, quoted(host), port)
