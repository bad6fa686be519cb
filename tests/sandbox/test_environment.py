"""Which variables go in."""

import pytest

from immure.sandbox.environment import CA_VARIABLES, environment

CALLER = {
    "TERM": "xterm",
    "LC_TIME": "C",
    "OPENAI_API_KEY": "fake-key-of-the-caller",
    "AWS_SECRET_ACCESS_KEY": "fake",
    "LD_PRELOAD": "/evil.so",
    "HTTPS_PROXY": "http://proxy",
    "SSH_AUTH_SOCK": "/run/ssh",
    "PATH": "/root/bin",
    "HOME": "/root",
}


# What has a loader, an interpreter or a tool run or load something (ld.so(8), and the manual of each), or leads to a login or a service.
NEVER = """
LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT LD_DEBUG_OUTPUT LD_PROFILE GLIBC_TUNABLES GCONV_PATH LOCPATH NLSPATH MALLOC_TRACE HOSTALIASES
RES_OPTIONS LOCALDOMAIN TMPDIR BASH_ENV ENV SHELLOPTS BASHOPTS PS4 PROMPT_COMMAND IFS CDPATH BASH_FUNC_ls%%
PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE PYTHONBREAKPOINT PYTHONWARNINGS PYTHONPYCACHEPREFIX PIP_INDEX_URL PIP_CONFIG_FILE
UV_INDEX_URL VIRTUAL_ENV CONDA_PREFIX NODE_OPTIONS NODE_PATH NODE_REPL_EXTERNAL_MODULE NPM_CONFIG_PREFIX npm_config_script_shell
YARN_RC_FILENAME DENO_DIR BUN_INSTALL PERL5OPT PERL5LIB PERLLIB PERL5DB RUBYOPT RUBYLIB GEM_HOME BUNDLE_GEMFILE
JAVA_TOOL_OPTIONS JDK_JAVA_OPTIONS _JAVA_OPTIONS CLASSPATH MAVEN_OPTS GRADLE_OPTS LUA_INIT LUA_PATH PHPRC PHP_INI_SCAN_DIR
GOFLAGS GOPROXY GOENV CARGO_HOME RUSTC_WRAPPER RUSTFLAGS CC CXX CFLAGS LDFLAGS MAKEFLAGS MAKEFILES CMAKE_TOOLCHAIN_FILE
GIT_DIR GIT_WORK_TREE GIT_EXEC_PATH GIT_CONFIG GIT_CONFIG_GLOBAL GIT_CONFIG_SYSTEM GIT_CONFIG_COUNT GIT_CONFIG_KEY_0 GIT_CONFIG_VALUE_0
GIT_CONFIG_PARAMETERS GIT_SSH GIT_SSH_COMMAND GIT_ASKPASS GIT_EDITOR GIT_SEQUENCE_EDITOR GIT_PAGER GIT_EXTERNAL_DIFF GIT_PROXY_COMMAND
GIT_TEMPLATE_DIR GIT_ALTERNATE_OBJECT_DIRECTORIES SSH_ASKPASS SSH_AUTH_SOCK SSH_CONNECTION GPG_AGENT_INFO GNUPGHOME SUDO_ASKPASS
LESSOPEN LESSCLOSE MANPAGER BROWSER XAUTHORITY DISPLAY WAYLAND_DISPLAY DBUS_SESSION_BUS_ADDRESS XDG_RUNTIME_DIR XDG_CONFIG_HOME
PULSE_SERVER DOCKER_HOST CONTAINER_HOST KUBECONFIG TMUX STY VSCODE_IPC_HOOK VSCODE_GIT_IPC_HANDLE NVIM HTTP_PROXY HTTPS_PROXY ALL_PROXY
http_proxy https_proxy no_proxy OPENAI_API_KEY ANTHROPIC_API_KEY AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_PROFILE GITHUB_TOKEN GH_TOKEN
GOOGLE_APPLICATION_CREDENTIALS AZURE_CLIENT_SECRET NPM_TOKEN HF_TOKEN DATABASE_URL PGPASSWORD OPENSSL_CONF OPENSSL_MODULES SSLKEYLOGFILE
CODEX_HOME IMMURE_HOME MAIL OLDPWD
""".split()


@pytest.mark.parametrize("name", NEVER)
def test_a_variable_that_loads_runs_or_leads_somewhere_is_dropped(name: str) -> None:
    assert environment({name: "from outside"}, ca_bundle="/ca.pem").get(name) != "from outside"


def test_only_harmless_names_pass() -> None:
    made = environment(CALLER, ca_bundle="/ca.pem")
    assert {"TERM", "LC_TIME"} == made.keys() & CALLER.keys() - {"PATH", "HOME"}
    assert made["HOME"] == "/home/agent"
    assert "/root" not in made["PATH"]


def test_certificate_variables_all_lead_to_the_bundle() -> None:
    made = environment({}, ca_bundle="/ca.pem")
    assert {"/ca.pem"} == {made[name] for name in CA_VARIABLES}
    assert made["IMMURE_SANDBOX"] == "1"


def test_later_mappings_win_and_path_comes_first() -> None:
    made = environment(CALLER, ca_bundle="/ca.pem", path=["/opt/agent/bin"], extra=[{"A": "1", "B": "1"}, {"B": "2", "TERM": "dumb"}])
    assert (made["A"], made["B"], made["TERM"]) == ("1", "2", "dumb")
    assert made["PATH"].startswith("/opt/agent/bin:")
