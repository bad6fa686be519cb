"""Policy files: what they mean, and for each mistake one error with file, line and remedy."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.config.policy_file import load_policy, read_policy
from immure.errors import PolicyError
from immure.model import Binary, Endpoint
from immure.policy import Rule

DIGEST = "0123456789abcdef" * 4
PROGRAMS = {"/usr/bin/node": Binary("/usr/bin/node", 1, 10), "/usr/bin/git": Binary("/usr/bin/git", 1, 11)}


def identify(path: str) -> Binary:
    try:
        return PROGRAMS[path]
    except KeyError:
        raise FileNotFoundError(2, "No such file or directory", path) from None


def read(text: str) -> tuple[Rule, ...]:
    return read_policy(text.encode("utf-8", "surrogateescape"), "policy.yaml", identify)


def rule(name: str, endpoint: str, *, effect: str = "allow", binaries: tuple[Binary, ...] | None = None) -> Rule:
    return Rule(name=name, layer="policy file", effect=effect, endpoint=Endpoint.parse(endpoint), binaries=binaries)  # type: ignore[arg-type]


def test_everything_that_can_be_said() -> None:
    assert read("""
version: 1
rules:
  - name: npm
    endpoints: [registry.example.com, "*.example.com:8443"]
    binaries: [/usr/bin/node, /usr/bin/git]
    effect: allow
  - name: "no metrics"
    endpoints:
      - METRICS.example.com.
      - "[2001:DB8::1]:80"
      - 192.0.2.1
    effect: deny
  - {name: nobody, endpoints: [a.com], binaries: []}
""") == (
        rule("npm", "registry.example.com:443", binaries=tuple(PROGRAMS.values())),
        rule("npm", "*.example.com:8443", binaries=tuple(PROGRAMS.values())),
        rule("no metrics", "metrics.example.com:443", effect="deny"),
        rule("no metrics", "[2001:db8::1]:80", effect="deny"),
        rule("no metrics", "192.0.2.1:443", effect="deny"),
        rule("nobody", "a.com:443", binaries=()),
    )


NOTHING = [
    "",
    "\n",
    "# a comment\n",
    "---\n",
    "--- \n...\n",
    "null\n",
    "~",
    "version: 1\n",
    "version: 1\nrules:\n",
    "version: 1\nrules: []\n",
]


@pytest.mark.parametrize("text", NOTHING)
def test_what_is_empty_or_missing_allows_nothing(text: str) -> None:
    assert read(text) == ()


def test_programs_with_children_and_programs_with_a_digest() -> None:
    text = f"""
version: 1
rules:
- name: npm
  endpoints: [a.com]
  binaries:
  - /usr/bin/node
  - {{path: /usr/bin/git, sha256: {DIGEST.upper()}, children: allow}}
- name: git
  endpoints: [b.com]
  binaries: [{{path: /usr/bin/git, children: allow}}]
"""
    node, git = PROGRAMS["/usr/bin/node"], PROGRAMS["/usr/bin/git"]
    given = replace(git, digest=DIGEST)
    assert read(text) == (
        rule("npm", "a.com", binaries=(node,)),
        replace(
            rule("npm", "a.com", binaries=(given,)),
            parents=(given,),
            exact=True,
            hint="if the change is meant, correct its sha256 in policy.yaml",
        ),
        replace(rule("git", "b.com", binaries=(git,)), parents=(git,)),
    )


HEAD = "version: 1\nrules:\n"
RULE = HEAD + "- name: npm\n  endpoints: [a.com]\n"
MISTAKES = {
    # text, line (0: none), what, hint
    "no version": ("rules: []\n", 1, "not a policy of version 1", "version: 1"),
    "another version": ("version: 2\n", 1, "not a policy of version 1", "version: 1"),
    "a quoted version": ('version: "1"\n', 1, "not a policy of version 1", "version: 1"),
    "a version with a zero before it": ("version: 01\n", 1, "not a policy of version 1", "version: 1"),
    "an unknown key": ("version: 1\nrule: []\n", 2, "unknown key 'rule'", "did you mean 'rules'?"),
    "an unknown key of a rule": (RULE + "  bianries: []\n", 5, "unknown key 'bianries'", "did you mean 'binaries'?"),
    "a key like nothing known": (RULE + "  xyz: 1\n", 5, "unknown key 'xyz'", "known here: name, endpoints, binaries, effect"),
    "a repeated key": (RULE + "  name: other\n", 5, "the key 'name' is repeated", "line 3"),
    "a repeated key at the top": (RULE + "rules: []\n", 5, "the key 'rules' is repeated", "line 3"),
    "a merge key": (RULE + "  <<: {effect: deny}\n", 5, "YAML does not read << as text", "quotes"),
    "a list at the top": ("- a\n", 1, "not a mapping", "known keys: version, rules"),
    "a text at the top": ("allow\n", 1, "not a mapping", "known keys"),
    "rules as a mapping": ("version: 1\nrules:\n  npm: {}\n", 3, "not a list", "- item"),
    "a rule that is a text": (HEAD + "- a.com\n", 3, "not a mapping", "known keys: name"),
    "a rule that is nothing": (HEAD + "-\n", 3, "not a mapping", "known keys: name"),
    "a rule without a name": (HEAD + "- endpoints: [a.com]\n", 3, "a rule without 'name'", "name: …"),
    "a rule without endpoints": (HEAD + "- name: npm\n", 3, "a rule without 'endpoints'", "endpoints: …"),
    "a name twice": (RULE + "- name: npm\n  endpoints: [b.com]\n", 5, "'npm' is taken by the rule on line 3", "of its own"),
    "an empty name": (HEAD + '- name: ""\n  endpoints: [a.com]\n', 3, "not a name", "letters"),
    "a name of two lines": (HEAD + '- name: "a\\nb"\n  endpoints: [a.com]\n', 3, "not a name", "letters"),
    "a name that is nothing": (HEAD + "- name:\n  endpoints: [a.com]\n", 3, "nothing where a text belongs", "write a value"),
    "a name that is a number": (HEAD + "- name: 012\n  endpoints: [a.com]\n", 3, "YAML does not read 012 as text", '"012"'),
    "a name that is a truth": (HEAD + "- name: no\n  endpoints: [a.com]\n", 3, "YAML does not read no as text", '"no"'),
    "a name that is a date": (HEAD + "- name: 2026-01-01\n  endpoints: [a.com]\n", 3, "as text", '"2026-01-01"'),
    "a name that is not a number": (HEAD + "- name: .nan\n  endpoints: [a.com]\n", 3, "as text", '".nan"'),
    "a name that is a list": (HEAD + "- name: [a]\n  endpoints: [a.com]\n", 3, "not a text", "one value"),
    "a key that is a list": (HEAD + "- [name]: a\n", 3, "not a text", "one value"),
    "a key that is a number": (HEAD + "- 1: a\n", 3, "YAML does not read 1 as text", '"1"'),
    "endpoints that are nothing": (HEAD + "- name: a\n  endpoints:\n", 4, "not a list", "- item"),
    "endpoints that are none": (HEAD + "- name: a\n  endpoints: []\n", 4, "a rule without an endpoint", "name a host"),
    "endpoints that are a text": (HEAD + "- name: a\n  endpoints: a.com\n", 4, "not a list", "[item, item]"),
    "an endpoint that YAML multiplies": (HEAD + "- name: a\n  endpoints: [1:30]\n", 4, "YAML does not read 1:30 as text", '"1:30"'),
    "an endpoint that is a URL": (
        HEAD + "- name: a\n  endpoints:\n  - a.com\n  - https://a/\n",
        6,
        "not an endpoint: 'https://a/'",
        "HOST:PORT",
    ),
    "an endpoint that is all": (HEAD + '- name: a\n  endpoints: ["*"]\n', 4, "not an endpoint: '*'", "HOST:PORT"),
    "a wildcard over addresses": (HEAD + '- name: a\n  endpoints: ["*.0.0.1"]\n', 4, "not an endpoint: '*.0.0.1'", "HOST:PORT"),
    "a port that is none": (HEAD + '- name: a\n  endpoints: ["a.com:0"]\n', 4, "not a port: 0", "HOST:PORT"),
    "an empty endpoint": (HEAD + '- name: a\n  endpoints: [""]\n', 4, "not an endpoint: ''", "HOST:PORT"),
    "a wildcard without quotes": (HEAD + "- name: a\n  endpoints:\n  - *.a.com\n", 5, "not YAML", '"*.example.com"'),
    "an alias": (HEAD + "- name: a\n  endpoints: &e [a.com]\n- name: b\n  endpoints: *e\n", 4, "an anchor or alias", '"*.example.com"'),
    "an alias of nothing": (HEAD + "- name: a\n  endpoints: [*e]\n", 4, "an anchor or alias", '"*.example.com"'),
    "a tag": (HEAD + "- name: !!str 1\n  endpoints: [a.com]\n", 3, "a tag (tag:yaml.org,2002:str)", "remove it"),
    "a tag of Python": ("version: 1\nrules: !!python/object/apply:os.system [x]\n", 2, "a tag", "remove it"),
    "a tag that says nothing": (HEAD + "- name: ! a\n  endpoints: [a.com]\n", 3, "a tag (!)", "remove it"),
    "an unknown effect": (RULE + "  effect: alow\n", 5, "unknown effect 'alow'", "did you mean 'allow'?"),
    "an effect that is nothing": (RULE + "  effect:\n", 5, "nothing where a text belongs", "write a value"),
    "binaries that are nothing": (RULE + "  binaries:\n", 5, "not a list", "- item"),
    "a relative program": (RULE + "  binaries: [node]\n", 5, "not an absolute path: 'node'", "command -v"),
    "a program that is not there": (RULE + "  binaries:\n  - /usr/bin/gone\n", 6, "no program at '/usr/bin/gone': No such file", "ls -l"),
    "a denial of nobody": (RULE + "  binaries: []\n  effect: deny\n", 5, "denies nobody", "leave out 'binaries'"),
    "a program without a path": (RULE + "  binaries:\n  - {children: allow}\n", 6, "a program without 'path'", "path: …"),
    "an unknown key of a program": (
        RULE + "  binaries: [{path: /usr/bin/node, xyz: x}]\n",
        5,
        "unknown key 'xyz'",
        "known here: path, sha256, children",
    ),
    "a digest that is none": (
        RULE + "  binaries:\n  - path: /usr/bin/node\n    sha256: abc\n",
        7,
        "not a SHA-256: 'abc'",
        "sha256sum /usr/bin/node",
    ),
    "children that are something else": (
        RULE + "  binaries:\n  - path: /usr/bin/node\n    children: alow\n",
        7,
        "unknown word 'alow'",
        "did you mean 'allow'?",
    ),
    "a denial of one content": (
        RULE + f"  effect: deny\n  binaries:\n  - path: /usr/bin/node\n    sha256: {DIGEST}\n",
        8,
        "a denial of one content",
        "leave out 'sha256'",
    ),
    "a denial of children": (
        RULE + "  effect: deny\n  binaries:\n  - path: /usr/bin/node\n    children: allow\n",
        8,
        "a denial of children",
        "leave out 'children'",
    ),
    "two documents": ("version: 1\n---\nversion: 1\n", 2, "not YAML", "yaml.org"),
    "brackets that do not close": ("version: 1\nrules: [\n", 3, "not YAML", "yaml.org"),
    "a tab for spaces": (HEAD + "\t- name: a\n", 3, "not YAML", "yaml.org"),
    "bytes that are not UTF-8": ("version: 1 # \udcff\n", 0, "not YAML", "UTF-8"),
    "a control character": ("version: 1 # \x07\n", 0, "not YAML", "UTF-8"),
    "deep nesting": ("[" * 100_000, 1, "nested too deeply", "list of rules"),
    "a very long file": ("# " + "x" * (1 << 20), 0, "longer than", "split"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named_with_its_line_and_remedy(case: str) -> None:
    text, line, what, hint = MISTAKES[case]
    with pytest.raises(PolicyError) as caught:
        read(text)
    assert str(caught.value).startswith(f"policy.yaml:{line}: " if line else "policy.yaml: ")
    assert what in str(caught.value)
    assert hint in caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("policy")
    for path in (directory, directory / "absent.yaml"):
        with pytest.raises(PolicyError, match="cannot be read") as caught:
            load_policy(str(path), identify)
        assert str(path) in caught.value.hint


def test_a_file_is_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_text(RULE)
    assert load_policy(str(path), identify) == (rule("npm", "a.com"),)


KEYS = ["version: 1\n", "rules:\n", "- name: ", "  endpoints: ", "  binaries: ", "? ", "<<: "]
VALUES = ["a", "[a.com]\n", "[]\n", "&a ", "*a", "!t ", "{", "}", '"', "\n"]
pieces = st.sampled_from(KEYS + VALUES)


@given(st.lists(pieces, max_size=12).map("".join) | st.text(max_size=40))
def test_any_text_is_rules_or_a_policy_error(text: str) -> None:
    try:
        rules = read(text)
    except PolicyError:
        return
    assert all(each.layer == "policy file" for each in rules)
