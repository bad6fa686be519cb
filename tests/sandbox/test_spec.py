"""The translation of a sandbox into bubblewrap options."""

from dataclasses import replace

from immure.sandbox.spec import Mount, Spec, bubblewrap

SPEC = Spec(
    command=("true", "--flag"),
    environment={"A": "1", "TRICKY": "--"},
    directory="/home/u/project",
    terminal=False,
    system=(Mount.same("/usr"), Mount.same("/etc/ssl")),
    links=(("usr/bin", "/bin"),),
    files={"/etc/hosts": b"hosts", "/etc/ssl/certs/ca-certificates.crt": b"bundle"},
    mounts=(Mount.same("/home/u/project", writable=True), Mount(source="/state/home", target="/home/agent/.codex", writable=True)),
    protected=(Mount.same("/home/u/project/.git", writable=True), Mount.same("/home/u/project/.git/hooks")),
)


def groups(spec: Spec, staged: bool = False) -> list[tuple[str | int, ...]]:
    """The options as one tuple each."""
    options, _, _ = bubblewrap(spec, (lambda index: f"/staged/{index}") if staged else None)
    found: list[list[str | int]] = []
    for option in options:
        if isinstance(option, str) and option.startswith("--") and option != "--":
            found.append([])
        found[-1].append(option)
    return [tuple(group) for group in found]


def test_namespaces_and_death() -> None:
    made = {group[0] for group in groups(SPEC)}
    assert {"--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent", "--new-session"} <= made
    assert "--share-net" not in made


def test_nothing_is_writable_but_what_says_so() -> None:
    writable = [group[1:] for group in groups(SPEC) if group[0] == "--bind"]
    assert writable == [
        ("/home/u/project", "/home/u/project"),
        ("/state/home", "/home/agent/.codex"),
    ]


def test_what_covers_comes_after_what_it_covers() -> None:
    order = [group[-1] for group in groups(SPEC) if group[0] in ("--bind", "--ro-bind", "--tmpfs", "--ro-bind-data")]
    for below, above in [
        ("/etc/ssl", "/etc/ssl/certs/ca-certificates.crt"),
        ("/home/agent", "/home/agent/.codex"),
    ]:
        assert order.index(below) < order.index(above)


def test_protected_paths_are_mounted_before_in_their_order() -> None:
    assert SPEC.covers() == [("/home/u/project/.git", True), ("/home/u/project/.git/hooks", False)]
    assert SPEC.covers(lambda index: f"/staged/{index}") == [("/staged/0/.git", True), ("/staged/0/.git/hooks", False)]


def test_what_is_deeper_comes_after_what_it_lies_in_however_it_was_named() -> None:
    spec = replace(SPEC, mounts=(Mount.same("/w/part/deep"), Mount.same("/w", writable=True), Mount.same("/w/part")), system=())
    order = [group[-1] for group in groups(spec) if group[0] in ("--bind", "--ro-bind")]
    assert order == ["/w", "/w/part", "/w/part/deep"]


def test_what_is_hidden_covers_everything() -> None:
    spec = replace(SPEC, hidden=("/home/u/project/.env",), closed=("/home/u/project/private",))
    found = groups(spec)
    end = found.index(("--chdir", "/home/u/project"))
    assert found[end - 4 : end] == [
        ("--ro-bind", "/dev/null", "/home/u/project/.env"),
        ("--perms", "0000"),
        ("--tmpfs", "/home/u/project/private"),
        ("--remount-ro", "/home/u/project/private"),
    ]


def test_files_are_passed_as_data() -> None:
    _, command, data = bubblewrap(SPEC)
    assert ("--ro-bind-data", 1, "/etc/ssl/certs/ca-certificates.crt") in groups(SPEC)
    assert data == [b"hosts", b"bundle"]
    assert command == ["true", "--flag"]


def test_staged_mounts_and_what_lies_within_them_come_from_the_stage() -> None:
    found = groups(SPEC, staged=True)
    assert ("--bind", "/staged/0", "/home/u/project") in found
    assert ("--bind", "/staged/1", "/home/agent/.codex") in found
    assert ("--ro-bind", "/usr", "/usr") in found


def test_with_a_terminal_the_program_leads_its_session() -> None:
    spec = Spec(command=("bash",), environment={}, directory="/", terminal=True)
    options, command, _ = bubblewrap(spec)
    assert "--new-session" not in options
    assert command == ["setsid", "--ctty", "bash"]


def test_with_a_terminal_that_is_not_its_input_it_leads_by_its_output() -> None:
    spec = Spec(command=("cat", "-"), environment={}, directory="/", terminal=True, is_typed=False)
    _, command, _ = bubblewrap(spec)
    assert command[:2] == ["sh", "-c"]
    assert command[-2:] == ["cat", "-"]


def test_host_path() -> None:
    for inside, host in [
        ("/usr/bin/env", "/usr/bin/env"),
        ("/bin/sh", "/usr/bin/sh"),
        ("/home/agent/.codex/config.toml", "/state/home/config.toml"),
        ("/home/u/project", "/home/u/project"),
        ("/home/u/projectile", None),
        ("/root/.ssh/id", None),
        ("/tmp/x", None),
    ]:
        assert host == SPEC.host_path(inside), inside
