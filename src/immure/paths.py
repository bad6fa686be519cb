"""Where things lie on the host, by the XDG base directory specification; `IMMURE_HOME` moves all of it below one directory.

    config   what you write: settings, policy          ($XDG_CONFIG_HOME/immure)
    state    what must survive: vault, audit, trust    ($XDG_STATE_HOME/immure)
    runtime  what dies with the broker: its socket     ($XDG_RUNTIME_DIR/immure, else state/run)

Rule: imports nothing, because the client that starts in 13 ms reads it.
"""


class Paths:
    """The directories of one user, from the environment of the command. None is created here."""

    __slots__ = ("config", "runtime", "state")

    def __init__(self, environment: "dict[str, str]") -> None:
        home = environment.get("IMMURE_HOME", "")
        if home:
            self.config, self.state, self.runtime = home + "/config", home + "/state", home + "/run"
            return
        user = environment.get("HOME", "") or "/"
        self.config = (environment.get("XDG_CONFIG_HOME") or user + "/.config") + "/immure"
        self.state = (environment.get("XDG_STATE_HOME") or user + "/.local/state") + "/immure"
        runtime = environment.get("XDG_RUNTIME_DIR", "")
        self.runtime = runtime + "/immure" if runtime else self.state + "/run"

    @property
    def socket(self) -> str:
        return self.runtime + "/broker.sock"

    @property
    def audit(self) -> str:
        return self.state + "/audit/events.jsonl"

    @property
    def vault(self) -> str:
        return self.state + "/vault"

    @property
    def trust(self) -> str:
        return self.state + "/trust.db"

    @property
    def settings(self) -> str:
        return self.config + "/config.toml"
