"""The client: what runs in your terminal while a sandbox runs.

It hands its arguments, directory, standard descriptors and a few environment variables to the broker, starts the broker if there is
none, passes signals on, relays the terminal, and exits as the program inside did. It decides nothing and knows no secret.

Towards the broker it speaks the packet format of `channel.py`; the broker answers in words that need no parser:

    say TEXT     for your eyes (stderr)
    terminal     with a descriptor: the other end of the terminal inside
    answer JSON  one of the things that were asked for
    exit N       the last word
    again        this broker is about to end; ask a new one

Rule: at import only builtins and C modules; `immure run -- true` spends more time in importing than in anything else.
"""

import _json
import _signal  # type: ignore[import-not-found]
import _socket
import posix
import sys

from immure import interpreter
from immure.errors import EXIT_LAUNCH, EXIT_USAGE
from immure.paths import Paths
from immure.version import __version__

_STREAMS = (0, 1, 2)
_FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
_PACKET = 32 * 1024
_POURED = 256 * 1024
_TYPE, _FILE = 0o170000, 0o100000
"""S_IFMT and S_IFREG; the module `stat` would have to be imported."""
_WAIT_FOR_BROKER = 30.0
"""Seconds. A cold broker takes well under one; a machine that swaps may need a few."""


def _encode(value: object) -> str:
    """JSON, for the few shapes a request has; importing `json` would cost as much as the rest of the client."""
    if isinstance(value, str):
        return _json.encode_basestring_ascii(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_encode(key)}:{_encode(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_encode, value)) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _environment() -> "dict[str, str]":
    return {key.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape") for key, value in posix.environ.items()}


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


# ---------------------------------------------------------------- the broker


def _connect(paths: Paths) -> "_socket.socket | None":
    """A connection to a living broker, or None. Goes by the directory's descriptor: a socket's path may have 107 bytes only."""
    try:
        directory = posix.open(paths.runtime, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except FileNotFoundError:
        return None
    broker = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        broker.connect(f"/proc/self/fd/{directory}/broker.sock")
    except (FileNotFoundError, ConnectionRefusedError):
        broker.close()
        return None
    finally:
        posix.close(directory)
    return broker


def _make_directories(path: str) -> None:
    try:
        posix.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        _make_directories(path.rpartition("/")[0] or "/")
        posix.mkdir(path, 0o700)


def _start_broker(paths: Paths) -> "_socket.socket | None":
    """Start a broker, unless somebody else does at this moment; returns the connection, or None with the reason said."""
    import fcntl
    import select

    _make_directories(paths.runtime)
    lock = posix.open(paths.runtime + "/start.lock", posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        broker = _connect(paths)
        if broker is not None:
            return broker
        ready, report = posix.pipe()
        if posix.fork() == 0:
            _become_broker(report, lock, paths.runtime + "/broker.log")
        posix.close(report)
        poll = select.poll()
        poll.register(ready, select.POLLIN)
        said = posix.read(ready, 4096) if poll.poll(_WAIT_FOR_BROKER * 1000) else b"does not answer"
        posix.close(ready)
        broker = _connect(paths)
        if broker is None:
            _say(_why(said.decode(errors="replace"), paths))
        return broker
    finally:
        posix.close(lock)


def _why(said: str, paths: Paths) -> str:
    """A broker that cannot be says so like anything that fails; what a bug says is in its log."""
    if said.startswith("error: "):
        return said
    return f"error: the broker {said or 'ended at once'} [broker.start]\nhint: it may say more in {paths.runtime}/broker.log\n"


def _become_broker(report: int, lock: int, log: str) -> None:
    """In the forked child: a daemon's ordinary life, with `report` as the descriptor on which it says that it is ready.

    Until then it holds `lock` too: should we be killed meanwhile, nobody starts a second one. What it and its workers have to say of
    bugs goes to `log`, which begins anew with each broker.
    """
    import fcntl

    try:
        posix.setsid()
        if posix.fork():
            posix._exit(0)  # noqa: SLF001
        posix.chdir("/")
        null = posix.open("/dev/null", posix.O_RDWR)
        posix.dup2(null, 0)
        posix.dup2(null, 1)
        posix.dup2(posix.open(log, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC, 0o600), 2)
        report, lock = fcntl.fcntl(report, fcntl.F_DUPFD, 5), fcntl.fcntl(lock, fcntl.F_DUPFD, 5)
        posix.dup2(report, 3)
        posix.dup2(lock, 4)
        posix.closerange(5, 1 << 16)
        arguments = interpreter.command("immure.broker.__main__", 3)
        posix.execv(arguments[0], arguments)
    finally:
        posix._exit(EXIT_LAUNCH)  # noqa: SLF001


# ---------------------------------------------------------------- a launch


def launch(verb: str, options: "dict[str, str | list[str] | bool | None]", command: "list[str]") -> int:
    """Run `command` walled in, as `verb` (run or codex) says; returns the exit status. Everything for people goes to stderr."""
    _fill_streams()
    environment = _environment()
    try:
        directory = posix.getcwd()
    except FileNotFoundError:
        _say("error: the current directory does not exist any more [usage.directory]\nhint: cd to one that does\n")
        return EXIT_USAGE
    terminals = [fd for fd in _STREAMS if posix.isatty(fd)]
    request = {
        "do": verb,
        "version": __version__,
        "options": options,
        "command": command,
        "directory": directory,
        "environment": environment,
        "streams": [fd not in terminals for fd in _STREAMS],
        "terminal": _size(terminals[-1]) if terminals else None,
        "umask": _umask(),
    }
    streams = [_pour(fd) if fd == 0 and _is_file(fd) else fd for fd in _STREAMS if fd not in terminals]
    paths = Paths(environment)
    for _ in range(3):  # a broker may be ending just now; two in a row may not
        try:
            broker = _connect(paths) or _start_broker(paths)
        except OSError as error:
            _say(f"error: {paths.runtime} cannot be used: {error.strerror} [broker.directory]\nhint: IMMURE_HOME=DIR names another place\n")
            return EXIT_LAUNCH
        if broker is None:
            return EXIT_LAUNCH
        try:
            _send(broker, request, streams)
        except (BrokenPipeError, ConnectionResetError):
            continue
        status = _follow(broker, terminals)
        if status is not None:
            return status
    _say(_why("ends as soon as it is started", paths))
    return EXIT_LAUNCH


def _send(broker: "_socket.socket", request: object, streams: "list[int]") -> None:
    file = posix.memfd_create("request", posix.MFD_CLOEXEC)
    data = _encode(request).encode()
    while data:
        data = data[posix.write(file, data) :]
    rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in (file, *streams))
    broker.sendmsg([b"+"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)], _socket.MSG_NOSIGNAL)
    posix.close(file)


def _forward_signals(broker: "_socket.socket") -> None:
    def forward(number: int, _: object) -> None:
        try:
            broker.sendmsg([b'{"do":"signal","signal":%d}' % number], [], _socket.MSG_NOSIGNAL)
        except OSError:
            pass  # the broker is gone, which the next read tells

    for name in _FORWARDED:
        number = getattr(_signal, name)
        if _signal.getsignal(number) != _signal.SIG_IGN:  # nohup stays nohup
            _signal.signal(number, forward)


def _wake_up() -> int:
    """The reading end of a pipe that has something to read once a signal has come.

    A handler of ours runs between two instructions. One that became due after the last of them before poll(2) would wait with us.
    """
    reader, writer = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)
    _signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader


def _receive(broker: "_socket.socket") -> "tuple[bytes, int | None]":
    """One word of the broker and its descriptor; an empty word means that the broker is gone."""
    try:
        data, ancillary, _, _ = broker.recvmsg(_PACKET, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return b"", None
    descriptor = int.from_bytes(ancillary[0][2][:4], sys.byteorder) if ancillary else None
    return data, descriptor


def _follow(broker: "_socket.socket", terminals: "list[int]") -> "int | None":
    """Do as the broker says until it says exit; None if another broker should be asked."""
    _forward_signals(broker)
    import select  # while the broker works

    signals = _wake_up()
    waiting = select.poll()
    waiting.register(broker.fileno(), select.POLLIN)
    waiting.register(signals, select.POLLIN)
    relay = None
    try:
        while True:
            ready = dict(waiting.poll()) if relay is None else relay.until_readable(broker.fileno(), signals)
            if signals in ready:
                posix.read(signals, _PACKET)  # its handler has run by now
                continue
            data, descriptor = _receive(broker)
            word, _, rest = data.partition(b" ")
            if word == b"say":
                text = rest.decode("utf-8", "replace")
                _say(text if relay is None else text.replace("\n", "\r\n"))  # your terminal is raw as long as it is relayed
            elif word == b"terminal" and descriptor is not None:
                from immure.relay import Relay

                relay = Relay(descriptor, terminals)
            elif word == b"exit":
                return int(rest)
            elif word == b"again":
                return None
            else:
                _say("error: the broker died, and the sandbox with it [broker.died]\nhint: run it again; a new broker starts by itself\n")
                return EXIT_LAUNCH
    finally:
        if relay is not None:
            relay.close()


def _fill_streams() -> None:
    """Open what is missing of the standard descriptors, or the next thing we open would take its number and go inside."""
    for fd in _STREAMS:
        try:
            posix.fstat(fd)
        except OSError:
            posix.open("/dev/null", posix.O_RDWR)


def _is_file(fd: int) -> bool:
    return posix.fstat(fd).st_mode & _TYPE == _FILE


def _pour(file: int) -> int:
    """The reading end of a pipe that a process of its own fills from `file`.

    What is given to be read could be opened again inside, for writing: /proc/self/fd/0 asks for the rights of the user, not for those
    of the descriptor (proc(5)), and an ordinary user's sandbox runs as that user.
    """
    reader, writer = posix.pipe()
    if posix.fork() == 0:
        try:
            for name in _FORWARDED:
                _signal.signal(getattr(_signal, name), _signal.SIG_IGN)  # they are for the program inside, which may go on reading
            posix.close(reader)
            posix.closerange(1, 3)  # whoever reads the output waits for its end
            while data := posix.read(file, _POURED):
                while data:
                    data = data[posix.write(writer, data) :]
        except OSError:
            pass  # nobody reads on, or the file cannot be read: to the program inside it ends here
        finally:
            posix._exit(0)  # noqa: SLF001
    posix.close(writer)
    return reader


def _umask() -> int:
    umask = posix.umask(0o077)
    posix.umask(umask)
    return umask


def _size(terminal: int) -> "list[int]":
    size = posix.get_terminal_size(terminal)
    return [size.lines, size.columns]


# ---------------------------------------------------------------- other requests


def ask(do: str, **fields: object) -> "tuple[int, list[bytes]] | None":
    """Put a request to the broker that runs: its exit status and its answers, in JSON. None if none runs, and so no sandbox."""
    broker = _connect(Paths(_environment()))
    if broker is None:
        return None
    answers = []
    try:
        _send(broker, {"do": do, "version": __version__, **fields}, [])
        while True:
            data, _ = _receive(broker)
            word, _, rest = data.partition(b" ")
            if word == b"say":
                _say(rest.decode("utf-8", "replace"))
            elif word == b"answer":
                answers.append(rest)
            elif word == b"exit":
                return int(rest), answers
            elif word == b"again":
                return None
            else:
                break
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        broker.close()
    _say("error: the broker died, and every sandbox with it [broker.died]\nhint: run it again; a new broker starts by itself\n")
    return EXIT_LAUNCH, answers


def stop() -> bool:
    """End the broker with all its sandboxes; False if there was none."""
    broker = _connect(Paths(_environment()))
    if broker is None:
        return False
    _send(broker, {"do": "stop", "version": __version__}, [])
    while _receive(broker)[0]:
        pass
    return True
