"""The configuration files of a local cluster's programs, as text."""

import base64
import json
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from e2e.cluster.addresses import Addresses
from e2e.cluster.pki import Pki

PAUSE_IMAGE = "localhost/kneescale/pause:local"
FRONT_PROXY = "front-proxy"
CNI_PROGRAMS = "/usr/lib/cni"


def kubeconfig(server: str, pki: Pki, user: str) -> str:
    """Return a kubeconfig with which the holder of the certificate named `user` talks to `server`."""
    credentials = {
        "client-certificate-data": _base64(pki.certificate(user)),
        "client-key-data": _base64(pki.key(user)),
    }
    cluster = {"server": server, "certificate-authority-data": _base64(pki.certificate("ca"))}
    return _json(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "local", "cluster": cluster}],
            "users": [{"name": user, "user": credentials}],
            "contexts": [{"name": "local", "context": {"cluster": "local", "user": user}}],
            "current-context": "local",
        }
    )


def kubelet(pki: Pki, node: str, cgroup: str, dns: IPv4Address, longest_back_off: str) -> str:
    """Return a KubeletConfiguration for a node whose pods are in control groups below `cgroup`."""
    return _json(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(pki.certificate("ca"))},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(pki.certificate(node)),
            "tlsPrivateKeyFile": str(pki.key(node)),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": cgroup,
            "failCgroupV1": False,
            # A claim may reach the kubelet before the API server's node authorizer lets it be read, and the
            # kubelet tries again only at its next sync.
            "syncFrequency": "5s",
            "crashLoopBackOff": {"maxContainerRestartPeriod": longest_back_off},
            "failSwapOn": False,
            # Without CAP_SYS_RESOURCE, as in many sandboxes, a process cannot lower its own score.
            "oomScoreAdj": 0,
            "clusterDNS": [str(dns)],
            "clusterDomain": "cluster.local",
            "resolvConf": "",
            "enforceNodeAllocatable": [],
            # The nodes share the machine's disk, so one of them must not evict pods for what others fill.
            "evictionHard": {},
            "imageGCHighThresholdPercent": 100,
            "localStorageCapacityIsolation": False,
        }
    )


def containerd(cni_folder: Path) -> str:
    """Return containerd's configuration; its folders are the usual ones, which are each node's own."""
    return f"""\
version = 3

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"

[plugins."io.containerd.cri.v1.runtime"]
# Without CAP_SYS_RESOURCE, as in many sandboxes, no container's score can be below containerd's.
restrict_oom_score_adj = true
enable_cdi = true
cdi_spec_dirs = ["/var/run/cdi"]

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{CNI_PROGRAMS}"]
conf_dir = "{cni_folder}"
"""


def cni(pods: IPv4Network) -> str:
    """Return the configuration of a node's pod network."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": str(pods)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return _json({"cniVersion": "1.0.0", "name": "local", "plugins": [bridge, portmap]})


def etcd(addresses: Addresses, data: Path) -> list[str]:
    """Return etcd's arguments; its data need not outlive a power cut, so it never waits for the disk."""
    peer = f"http://{addresses.loopback}:2380"
    return [
        f"--data-dir={data}",
        "--unsafe-no-fsync",
        f"--listen-client-urls={addresses.etcd_url}",
        f"--advertise-client-urls={addresses.etcd_url}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    ]


def apiserver(addresses: Addresses, pki: Pki) -> list[str]:
    """Return the API server's arguments."""
    return [
        f"--etcd-servers={addresses.etcd_url}",
        f"--bind-address={addresses.host}",
        f"--advertise-address={addresses.host}",
        f"--service-cluster-ip-range={addresses.services}",
        f"--tls-cert-file={pki.certificate('apiserver')}",
        f"--tls-private-key-file={pki.key('apiserver')}",
        f"--client-ca-file={pki.certificate('ca')}",
        f"--service-account-key-file={pki.certificate('service-accounts')}",
        f"--service-account-signing-key-file={pki.key('service-accounts')}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--kubelet-certificate-authority={pki.certificate('ca')}",
        f"--kubelet-client-certificate={pki.certificate('admin')}",
        f"--kubelet-client-key={pki.key('admin')}",
        "--kubelet-preferred-address-types=InternalIP",
        *_aggregation(pki),
    ]


def _aggregation(pki: Pki) -> list[str]:
    """The arguments by which the API server passes requests on to others, such as a metrics adapter's."""
    return [
        f"--proxy-client-cert-file={pki.certificate(FRONT_PROXY)}",
        f"--proxy-client-key-file={pki.key(FRONT_PROXY)}",
        f"--requestheader-client-ca-file={pki.certificate('ca')}",
        f"--requestheader-allowed-names={FRONT_PROXY}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
    ]


def controller_manager(addresses: Addresses, pki: Pki, own_kubeconfig: Path) -> list[str]:
    """Return the controller manager's arguments."""
    return [
        f"--kubeconfig={own_kubeconfig}",
        f"--bind-address={addresses.loopback}",
        f"--service-account-private-key-file={pki.key('service-accounts')}",
        f"--root-ca-file={pki.certificate('ca')}",
        f"--cluster-signing-cert-file={pki.certificate('ca')}",
        f"--cluster-signing-key-file={pki.key('ca')}",
        "--use-service-account-credentials",
        "--leader-elect=false",
    ]


def scheduler(addresses: Addresses, own_kubeconfig: Path) -> list[str]:
    """Return the scheduler's arguments."""
    return [f"--kubeconfig={own_kubeconfig}", f"--bind-address={addresses.loopback}", "--leader-elect=false"]


def kube_proxy(addresses: Addresses, node: str, own_kubeconfig: Path) -> list[str]:
    """Return kube-proxy's arguments.

    Traffic from outside the pod network, this machine's included, is masqueraded: the answer comes back
    through the node that chose the pod.
    """
    return [
        f"--kubeconfig={own_kubeconfig}",
        f"--hostname-override={node}",
        f"--cluster-cidr={addresses.all_pods}",
        "--proxy-mode=iptables",
        # The table of connections is the whole machine's: leave its size alone.
        "--conntrack-max-per-core=0",
    ]


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1)
