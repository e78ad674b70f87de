"""What the programs of a local cluster are told."""

import json
from pathlib import Path

import pytest

from e2e.cluster import config
from e2e.cluster.addresses import Addresses
from e2e.cluster.pki import Pki
from tests.cluster.recording_runner import RecordingRunner


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    pki = Pki(tmp_path / "pki", RecordingRunner())
    pki.make_authority()
    for path in (pki.certificate("ca"), pki.certificate("admin"), pki.key("admin")):
        path.write_text(path.name)
    return pki


def test_a_kubeconfig_stands_on_its_own(pki: Pki) -> None:
    made = json.loads(config.kubeconfig("https://10.89.0.1:6443", pki, "admin"))
    (cluster,) = made["clusters"]
    (user,) = made["users"]
    assert cluster["cluster"] == {
        "server": "https://10.89.0.1:6443",
        "certificate-authority-data": "Y2EuY3J0",
    }
    assert user["user"] == {"client-certificate-data": "YWRtaW4uY3J0", "client-key-data": "YWRtaW4ua2V5"}
    assert made["current-context"] == "local"


@pytest.mark.parametrize("slot", [0, 3])
def test_two_clusters_programs_listen_at_different_addresses(pki: Pki, slot: int) -> None:
    addresses = Addresses(slot)
    told = [
        *config.etcd(addresses, Path("/data")),
        *config.apiserver(addresses, pki),
        *config.controller_manager(addresses, pki, Path("/kubeconfig")),
        *config.scheduler(addresses, Path("/kubeconfig")),
    ]
    listening = [option for option in told if "listen" in option or "bind-address" in option]
    assert len(listening) == 5
    assert all(f"127.89.{slot}.1" in option or f"10.89.{slot}.1" in option for option in listening)


def test_only_the_authority_may_sign(pki: Pki) -> None:
    runner = RecordingRunner()
    Pki(pki.folder, runner).make("node1", "/CN=node1", ips=["10.89.0.11"])
    (command,) = runner.commands
    assert "basicConstraints=critical,CA:FALSE" in command
    assert "subjectAltName=IP:10.89.0.11" in command
    assert f"-CA {pki.certificate('ca')} -CAkey {pki.key('ca')}" in command
