"""What the documents say, held to what the program does: links, commands, options, keys, codes, fields, and the tests they name."""

import ast
import importlib.machinery
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Any, get_args

import click
import pytest

import immure.errors
from immure.agents.codex.home import environment as codex_environment
from immure.audit.event import LoginActivity, file_event, finding_event, http_event, login_event, network_event
from immure.cli.application import immure as command_line
from immure.config.policy_file import read_policy
from immure.config.settings import load_settings
from immure.errors import ImmureError
from immure.model import Binary, Caller, Deny, Process
from immure.providers import load_profile
from immure.rewrite.refused import RefusedKind
from immure.sandbox import protected
from immure.sandbox.environment import CA_VARIABLES, PASSED

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LAUNCHES = ("run", "codex")
LONGEST = 600
"""Lines of a source file that need no word of explanation in docs/architecture.md."""


def read(path: str) -> str:
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def files(ending: str, *below: str) -> list[str]:
    """The paths of the repository's own files, not what set-up and tools have put beside them."""
    found = []
    for top in below or ("",):
        for directory, names, entries in os.walk(os.path.join(ROOT, top)):
            names[:] = [name for name in names if name not in ("node_modules", "build", "dist") and not name.startswith(".")]
            found += [os.path.relpath(os.path.join(directory, entry), ROOT) for entry in entries if entry.endswith(ending)]
    return sorted(found)


DOCUMENTS = files(".md")
SOURCES = files(".py", "src/immure")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    """The text without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def section(path: str, heading: str) -> str:
    """What stands below a heading, up to the next of its level or above."""
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#{{1,2}} |\Z)", read(path), re.MULTILINE | re.DOTALL)
    assert found, f"{path} has no section {heading!r}"
    return found[2]


def first_column(text: str) -> set[str]:
    """The code-quoted words in the first column of all tables."""
    return {word for line in text.splitlines() if line.startswith("| `") for word in re.findall(r"`([^`]+)`", line.split("|")[1])}


# ---------------------------------------------------------------- links


def anchors(path: str) -> set[str]:
    """The fragments that the headings of a document have on GitHub."""
    headings = re.findall(r"^#+ (.+)$", prose(read(path)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_leads_somewhere(document: str) -> None:
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(read(document))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        other = os.path.normpath(os.path.join(os.path.dirname(document), path)) if path else document
        if not os.path.exists(os.path.join(ROOT, other)) or (fragment and fragment not in anchors(other)):
            dead.append(target)
    assert dead == []


def test_every_document_can_be_found_from_the_readme() -> None:
    reached, ahead = set(), ["README.md"]
    while ahead:
        document = ahead.pop()
        if document in reached:
            continue
        reached.add(document)
        for target in re.findall(r"\]\(([^)#\s]+\.md)[#)]", read(document) if os.path.exists(os.path.join(ROOT, document)) else ""):
            if not re.match(r"[a-z]+:", target):
                ahead.append(os.path.normpath(os.path.join(os.path.dirname(document), target)))
    assert set(DOCUMENTS) - reached == set()


# ---------------------------------------------------------------- commands


def commands(document: str) -> Iterator[list[str]]:
    """The words of each simple command in the `console` blocks: of pipelines each part, without assignments and redirections."""
    for block in blocks(read(document), "console"):
        for line in block.splitlines():
            if not line.startswith("$ "):
                continue
            line = re.sub(r" [<>] ?\S+", "", line[2:])
            line = re.sub(r'"?\$\((.*?)\)"?', r"; \1", line)  # what is substituted is a command too
            lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&")
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, ";"]:
                if set(word) <= set(";|&"):
                    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                        words.pop(0)
                    if words:
                        yield words
                    words = []
                else:
                    words.append(word)


def check_immure(arguments: list[str]) -> None:
    """Raises click.UsageError for a verb, option or value that the command line does not know."""
    name = "immure"
    command: click.Command = command_line
    context: click.Context | None = None
    while True:
        context = command.make_context(name, list(arguments), parent=context)
        if not isinstance(command, click.Group) or not (arguments := [*context._protected_args, *context.args]):
            return
        found, verb, arguments = command.resolve_command(context, arguments)
        assert found is not None
        assert verb is not None
        name, command = found, verb


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_that_is_shown_exists(document: str) -> None:
    for words in commands(document):
        program, arguments = os.path.basename(words[0]), words[1:]
        if program == "immure":
            try:
                check_immure(arguments)
            except click.exceptions.Exit:
                pass  # --help and --version
            except click.UsageError as error:
                pytest.fail(f"{shlex.join(words)}: {error.message}")
        elif program == "make":
            assert set(arguments) <= make_targets(), shlex.join(words)
        elif program.startswith("python") and arguments[:1] == ["-m"]:
            assert importlib.util.find_spec(arguments[1]) is not None, shlex.join(words)


MISTAKES = ["immure frobnicate", "immure run --alow x -- true", "immure logs --lines many", "immure --provider", "immure completion tcsh"]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_command_with_a_mistake_would_be_found(mistake: str) -> None:
    with pytest.raises(click.UsageError):
        check_immure(mistake.split()[1:])


def test_the_page_of_commands_is_what_the_program_says() -> None:
    printed = subprocess.run([sys.executable, os.path.join(ROOT, "tools/cli-reference")], capture_output=True, text=True, check=True)
    assert read("docs/reference/cli.md") == printed.stdout, "run: .venv/bin/python tools/cli-reference > docs/reference/cli.md"


def test_the_table_of_attacks_is_that_of_the_suite() -> None:
    loader = importlib.machinery.SourceFileLoader("attack_table", os.path.join(ROOT, "tools/attack-table"))
    specification = importlib.util.spec_from_loader("attack_table", loader)
    assert specification
    tool = importlib.util.module_from_spec(specification)
    loader.exec_module(tool)
    assert read("THREATS.md") == tool.page(read("THREATS.md")), "run: .venv/bin/python tools/attack-table"


def test_make_help_names_every_target_that_is_shown() -> None:
    described = set(re.findall(r"^([a-z]+):.*## ", read("Makefile"), re.MULTILINE))
    shown = {word for document in DOCUMENTS for words in commands(document) if words[0] == "make" for word in words[1:]}
    assert shown - {"setup"} <= described


# ---------------------------------------------------------------- settings, policy, environment


def known_keys(settings: str, directory: str) -> set[str]:
    """The keys of a table of config.toml, by the error for one that is not known."""
    path = os.path.join(directory, "config.toml")
    with open(path, "w") as file:
        file.write(settings)
    with pytest.raises(ImmureError) as error:
        load_settings(path)
    return set(error.value.hint.removeprefix("known keys: ").split(", "))


def known_policy_keys(text: str) -> set[str]:
    with pytest.raises(ImmureError) as error:
        read_policy(text.encode(), "policy", lambda path: Binary(path, 1, 1))
    return set(error.value.hint.removeprefix("known here: ").split(", "))


def test_every_key_of_the_settings_is_described(tmp_path: Any) -> None:
    page = "docs/reference/config.md"
    tables = known_keys("zzzzzz = 1", str(tmp_path))
    assert tables == {"upstream", "codex", "workspace", "limits"}
    for name in tables:
        header = "[[upstream]]" if name == "upstream" else f"[{name}]"
        assert first_column(section(page, name)) == known_keys(f"{header}\nzzzzzz = 1", str(tmp_path))


def test_every_key_of_a_policy_is_described() -> None:
    top = known_policy_keys("zzzzzz: 1")
    rule = known_policy_keys("version: 1\nrules:\n  - zzzzzz: 1")
    text = read("docs/reference/policy.md")
    assert first_column(text[: text.index("## Endpoints")]) == top | rule


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_policy_that_is_shown_is_read(document: str) -> None:
    for block in blocks(read(document), "yaml"):
        assert read_policy(block.encode(), document, lambda path: Binary(path, 1, 1)) != ()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_setting_that_is_shown_is_read(document: str, tmp_path: Any) -> None:
    for block in blocks(read(document), "toml"):
        path = tmp_path / "config.toml"
        path.write_text(re.sub(r"^ca = .*\n", "", block, flags=re.MULTILINE))  # of a file that is not here
        load_settings(str(path))


VARIABLES = {
    "passed": set(PASSED) | {"LC_"},
    "of certificates": set(CA_VARIABLES),
    "of codex": {*codex_environment("/home"), *(declared.variable for declared in load_profile("codex").declared)},
}


@pytest.mark.parametrize("kind", VARIABLES)
def test_every_variable_inside_is_described(kind: str) -> None:
    text = section("docs/reference/config.md", "Variables inside")
    found = re.search(rf"([^\n]*)\n<!-- variables {kind} -->\n(.*?)(?:\n\n|\Z)", text, re.DOTALL)
    assert found
    named = set(re.findall(r"`([A-Z_]+)`", found[2] + (found[1] if kind == "of codex" else "")))
    assert named == VARIABLES[kind]


def table(page: str, heading: str) -> set[tuple[str, ...]]:
    rows = [line.strip("| ").split(" | ") for line in section(page, heading).splitlines() if line.startswith("| `")]
    return {tuple(cell.replace("`", "").strip() for cell in row) for row in rows}


def test_every_protected_path_is_described_with_its_name_and_reason() -> None:
    page = "docs/reference/protected.md"
    for heading, paths in (("In the working tree", protected.WORKING_TREE), ("In git directories", protected.GIT_DIRECTORY)):
        described = {row for row in table(page, heading) if len(row) == 3 and row[0] not in protected.NAMES}
        assert described == {(one.path, one.name, one.reason) for one in paths}
    assert first_column(section(page, "In git directories")) >= {"git-init", "git-hooks", "git-config", "git-nested"}
    assert protected.NAMES - {one.name for one in (*protected.WORKING_TREE, *protected.GIT_DIRECTORY)} == {"git-init", "git-nested"}


# ---------------------------------------------------------------- codes and statuses


def constants(node: ast.AST | None) -> list[str]:
    """The texts that an expression may be: of a constant, or of either branch of a condition."""
    match node:
        case ast.Constant(value=str() as text):
            return [text]
        case ast.IfExp(body=body, orelse=otherwise):
            return [*constants(body), *constants(otherwise)]
    return []


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call in the product, with the name of what is called."""
    for path in SOURCES:
        if path.startswith("src/immure/testing/"):
            continue
        for node in ast.walk(ast.parse(read(path))):
            if isinstance(node, ast.Call):
                function = node.func
                yield str(getattr(function, "attr", getattr(function, "id", ""))), node


def error_codes() -> tuple[set[str], set[str]]:
    """The codes of errors, and those that are made of a name (`{name}.died`), as patterns."""
    codes, patterns = set(), set()
    for _, call in calls():
        for keyword in call.keywords:
            if keyword.arg == "code":
                codes.update(constants(keyword.value))
                if isinstance(keyword.value, ast.JoinedStr):
                    parts = [re.escape("".join(constants(part))) or "[a-z]+" for part in keyword.value.values]
                    patterns.add("".join(parts))
    for path in ("bin/immure", "src/immure/client.py", "src/immure/broker/service.py"):  # which write their lines themselves
        codes.update(re.findall(r"\[([a-z]+(?:\.[a-z_-]+)?)\]\\n", read(path)))
    return codes, patterns


def answer_codes() -> set[str]:
    """The codes of the gate's own answers."""
    codes = set()
    for name, call in calls():
        place = {"problem": 0, "_refuse_answer": 0, "Failure": 1, "_refuse": 4, "denial": 3}.get(name)
        if place is not None and len(call.args) > place:
            codes.update(constants(call.args[place]))
    return codes


def test_every_code_is_described_and_every_described_code_exists() -> None:
    text = read("docs/reference/errors.md")
    described = first_column(text[text.index("## You") : text.index("## What the gate answers")])
    codes, patterns = error_codes()
    assert len(codes) > 40
    assert codes - described == set()
    assert [pattern for pattern in patterns if not any(re.fullmatch(pattern, code) for code in described)] == []
    assert {code for code in described - codes if not any(re.fullmatch(pattern, code) for pattern in patterns)} == set()


def test_every_code_of_the_gate_is_described() -> None:
    text = section("docs/reference/errors.md", "What the gate answers")
    described = {line.split("`")[1] for line in text.splitlines() if re.match(r"\| \d", line)}
    assert described == answer_codes()


def test_every_exit_status_is_described() -> None:
    table = section("docs/reference/errors.md", "Exit statuses")
    described = {int(status) for status in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    named = {value for name, value in vars(immure.errors).items() if name.startswith("EXIT_")}
    assert named | {0, 130} == described


# ---------------------------------------------------------------- audit events

EVENT: dict[str, Any] = {"time": 1792513104123, "sandbox": "sb-6fde1334"}
CURL = Caller(Binary("/usr/bin/curl", 0, 0), 4711)
SCRIPT = Caller(Binary("/usr/bin/python3.11", 0, 0, "9f" * 32), 4712, "build.py", (Process(Binary("/usr/bin/make", 0, 0), 4710),))
EVENTS = [
    http_event(
        **EVENT,
        caller=SCRIPT,
        host="attacker.example.com",
        port=443,
        method="POST",
        path="/exfil?token=immure",
        status=403,
        decision=Deny("default", "built-in", f"{SCRIPT} may not reach attacker.example.com:443: no rule allows it"),
        request_id="sb-6fde1334-2.1",
    ),
    network_event(
        **EVENT,
        caller=CURL,
        host="203.0.113.7",
        port=22,
        decision=Deny("protocol", "built-in", "what was sent to 203.0.113.7, port 22, is neither TLS nor HTTP"),
        request_id="sb-6fde1334-3",
    ),
    finding_event(
        **EVENT,
        caller=CURL,
        host="attacker.example.com",
        port=443,
        request_id="sb-6fde1334-2.1",
        title="misplaced placeholder",
        credential="codex.access_token",
        reason="credential 'codex.access_token' was not sent to attacker.example.com: it is not for attacker.example.com, port 443",
    ),
    login_event(**EVENT, login="codex /home/you/.codex", activity="refreshed", host="auth.openai.com", reason="unauthorized_recovery"),
    file_event(
        **EVENT,
        program="/usr/bin/bash",
        pid=4711,
        operation="write",
        path="/home/you/project/.git/config",
        reason="it is read-only inside",
    ),
]


def leaves(value: Any, path: str = "") -> Iterable[str]:
    if not isinstance(value, dict):
        return [path]
    return [leaf for key, below in value.items() for leaf in leaves(below, f"{path}.{key}" if path else key)]


def test_the_events_that_are_shown_are_those_that_are_written() -> None:
    shown = [json.loads(block) for block in blocks(read("docs/reference/audit.md"), "json")]
    written: list[dict[str, Any]] = [json.loads(event) for event in EVENTS]
    for event in (*shown, *written):
        event["metadata"]["product"].pop("version")  # a release is no reason to change the page
    assert shown == written


def test_every_field_of_an_event_is_described() -> None:
    fields = {leaf for event in EVENTS for leaf in leaves(json.loads(event))}
    assert first_column(section("docs/reference/audit.md", "Fields")) == fields


def test_every_change_to_a_login_is_described() -> None:
    assert first_column(section("docs/reference/audit.md", "Changes")) == set(get_args(LoginActivity))


def test_every_title_of_a_finding_is_described() -> None:
    assert first_column(section("docs/reference/audit.md", "A finding")) == set(get_args(RefusedKind))


# ---------------------------------------------------------------- what is promised, and by which test it is held


def promises() -> list[tuple[str, str]]:
    """Number and text of each promise."""
    return re.findall(r"^\*\*([A-Z]+\d+)\*\* (.*?)(?=\n\n|\n\*\*|\Z)", read("SPECIFICATION.md"), re.MULTILINE | re.DOTALL)


def functions_of(path: str) -> set[str]:
    tree = ast.parse(read(path))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_that_is_named_exists() -> None:
    missing = []
    for document in DOCUMENTS:
        for path, name in re.findall(r"`((?:tests|bench)/[\w/]+\.py)(?:::(\w+))?`", read(document)):
            if not os.path.exists(os.path.join(ROOT, path)) or (name and name not in functions_of(path)):
                missing.append(f"{document}: {path}::{name}")
    assert missing == []


def test_every_promise_is_held_by_a_test_or_marked_pending() -> None:
    found = promises()
    assert len(found) > 50
    unheld = [
        number for number, text in found if not re.search(r"`(?:tests/[\w/]+\.py::\w+|bench/\w+\.py)`", text) and "[pending]" not in text
    ]
    assert unheld == []


def test_promises_are_numbered_without_gaps() -> None:
    numbers: dict[str, list[int]] = {}
    for number, _ in promises():
        group = re.sub(r"\d", "", number)
        numbers.setdefault(group, []).append(int(number.removeprefix(group)))
    assert {group: list(range(1, len(found) + 1)) for group, found in numbers.items()} == numbers


# ---------------------------------------------------------------- the house


def test_a_long_source_file_is_explained() -> None:
    architecture = read("docs/architecture.md")
    long = [path for path in SOURCES if read(path).count("\n") > LONGEST]
    assert [path for path in long if path.removeprefix("src/immure/") not in architecture] == []


def test_every_room_stands_in_the_plan() -> None:
    plan = section("docs/architecture.md", "Rooms")
    rooms = {path.split("/")[2] for path in SOURCES} - {"__init__.py"}
    named = {word.rstrip("/") for line in plan.splitlines() if line.startswith("  ") for word in line.split()[:1]}
    assert named >= rooms


def test_the_glossary_is_in_order_and_defines_each_word_once() -> None:
    words = re.findall(r"^\*\*(.+?)\*\*", read("docs/glossary.md"), re.MULTILINE)
    assert words == sorted(set(words), key=str.lower)
