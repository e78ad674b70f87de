"""A certificate authority for one cluster, and the certificates that it signs."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from harness.runner import Runner

DAYS = "365"
# An empty configuration: OpenSSL's own would make every certificate one of an authority.
CONFIG = "[req]\ndistinguished_name = name\n[name]\n"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True, slots=True)
class Pki:
    """Keys and certificates in one folder, as NAME.key and NAME.crt."""

    folder: Path
    runner: Runner

    def key(self, name: str) -> Path:
        """The private key of that name."""
        return self.folder / f"{name}.key"

    def certificate(self, name: str) -> Path:
        """The certificate of that name."""
        return self.folder / f"{name}.crt"

    def make_authority(self) -> None:
        """Make the certificate authority, named `ca`."""
        self.folder.mkdir(mode=0o700)
        (self.folder / "openssl.cnf").write_text(CONFIG)
        self._request("ca", "/CN=kneescale-local-ca", ("basicConstraints=critical,CA:TRUE",))

    def make(
        self, name: str, subject: str, dns: Sequence[str] = (), ips: Sequence[IPv4Address | str] = ()
    ) -> None:
        """Make a key and a certificate for `subject`, such as /O=system:nodes/CN=system:node:node1."""
        names = ",".join([*(f"DNS:{n}" for n in dns), *(f"IP:{ip}" for ip in ips)])
        extensions = ("basicConstraints=critical,CA:FALSE", *([f"subjectAltName={names}"] if names else []))
        signer = ("-CA", str(self.certificate("ca")), "-CAkey", str(self.key("ca")))
        self._request(name, subject, extensions, signer)

    def _request(
        self, name: str, subject: str, extensions: Sequence[str], signer: Sequence[str] = ()
    ) -> None:
        files = ("-keyout", str(self.key(name)), "-out", str(self.certificate(name)))
        added = [argument for extension in extensions for argument in ("-addext", extension)]
        config = ("-config", str(self.folder / "openssl.cnf"))
        command = ["openssl", "req", "-x509", *config, *NEW_KEY, *files, "-days", DAYS, "-subj", subject]
        self.runner.run([*command, *added, *signer])
