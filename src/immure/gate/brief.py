"""What a gate is told when it starts to serve: everything it knows about its sandbox, in one value.

The broker composes it and hands it over in a memory file, because it holds secrets; it is never written to a disk or put into a
message.
"""

import json
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from immure.config.settings import Upstream
from immure.gate.grants import Grants
from immure.gate.names import POOL


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """`grants` hold until others take their place; the rest stays as it is.

    `pool` are the addresses that stand for names: any block that the sandbox routes to the gate's listeners will do.
    """

    sandbox: str
    grants: Grants = field(default_factory=Grants)
    upstreams: tuple[Upstream, ...] = ()
    pool: IPv4Network = POOL

    def encode(self) -> bytes:
        """For a memory file: the secrets are in it."""
        return json.dumps(
            {
                "sandbox": self.sandbox,
                "grants": self.grants.content(),
                "upstreams": [[u.host, u.address, u.port, u.ca_pem] for u in self.upstreams],
                "pool": str(self.pool),
            }
        ).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Brief":
        """The inverse of `encode`. Raises ValueError, KeyError or TypeError for anything else."""
        content = json.loads(data)
        return cls(
            sandbox=content["sandbox"],
            grants=Grants.of(content["grants"]),
            upstreams=tuple(Upstream(host=host, address=address, port=port, ca_pem=ca) for host, address, port, ca in content["upstreams"]),
            pool=IPv4Network(content["pool"]),
        )
