"""The official client, spoken to by a scripted HTTP server: paths, patch type, and errors by their kind."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from kneescale.agent.cluster_api import (
    AwayError,
    ClusterError,
    ConflictError,
    ExpiredError,
    KubernetesApi,
    NotFoundError,
)

SCHEDULE = {"metadata": {"name": "node1-gpu0", "resourceVersion": "8"}}


class Script:
    """What the server answers, and what it was asked."""

    def __init__(self) -> None:
        self.answer: tuple[int, list[dict[str, Any]]] = (200, [{}])
        self.asked: list[tuple[str, str]] = []
        self.content_type = ""
        self.body: dict[str, Any] = {}


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def api(script: Script, tmp_path: Path) -> Iterator[KubernetesApi]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            script.asked.append((self.command, self.path))
            length = int(self.headers.get("Content-Length", 0))
            if length:
                script.content_type = self.headers["Content-Type"]
                script.body = json.loads(self.rfile.read(length))
            status, documents = script.answer
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b"".join(json.dumps(document).encode() + b"\n" for document in documents))

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - the names that http.server calls

        def log_message(self, format: str, *args: object) -> None:
            """Not in test output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield KubernetesApi(_kubeconfig(tmp_path, server.server_address[1]))
    server.shutdown()
    server.server_close()
    thread.join(10)


def _kubeconfig(folder: Path, port: int) -> str:
    path = folder / "kubeconfig"
    cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [cluster],
        "contexts": [context],
        "users": [{"name": "u", "user": {}}],
        "current-context": "c",
    }
    path.write_text(json.dumps(config))
    return str(path)


def test_claims_and_slices_are_where_kubernetes_has_them(api: KubernetesApi, script: Script) -> None:
    api.get_resource_claim("default", "a")
    script.answer = (200, [{"items": [SCHEDULE]}])
    assert api.list_resource_slices("node1") == [SCHEDULE]
    api.create_resource_slice(SCHEDULE)
    api.replace_resource_slice(SCHEDULE)
    api.delete_resource_slice("s")
    api.get_node("node1")
    base = "/apis/resource.k8s.io/v1"
    assert script.asked == [
        ("GET", f"{base}/namespaces/default/resourceclaims/a"),
        ("GET", f"{base}/resourceslices?fieldSelector=spec.nodeName%3Dnode1"),
        ("POST", f"{base}/resourceslices"),
        ("PUT", f"{base}/resourceslices/node1-gpu0"),
        ("DELETE", f"{base}/resourceslices/s"),
        ("GET", "/api/v1/nodes/node1"),
    ]


def test_status_is_merged(api: KubernetesApi, script: Script) -> None:
    api.patch_gpu_schedule_status("node1-gpu0", {"summary": "x"})
    assert script.asked == [("PATCH", "/apis/kneescale.dev/v1alpha1/gpuschedules/node1-gpu0/status")]
    assert script.content_type == "application/merge-patch+json"
    assert script.body == {"status": {"summary": "x"}}


def test_a_node_condition_is_merged_by_its_type(api: KubernetesApi, script: Script) -> None:
    api.patch_node_condition("node1", {"type": "KneescaleGPUsReady", "status": "True"})
    assert script.asked == [("PATCH", "/api/v1/nodes/node1/status")]
    assert script.content_type == "application/strategic-merge-patch+json"
    assert script.body == {"status": {"conditions": [{"type": "KneescaleGPUsReady", "status": "True"}]}}


def test_events_go_to_their_namespace(api: KubernetesApi, script: Script) -> None:
    api.create_event({"metadata": {"namespace": "default"}, "note": "x"})
    assert script.asked == [("POST", "/apis/events.k8s.io/v1/namespaces/default/events")]
    assert script.body["note"] == "x"


def test_schedules_are_listed_and_watched(api: KubernetesApi, script: Script) -> None:
    script.answer = (200, [{"metadata": {"resourceVersion": "7"}, "items": [SCHEDULE]}])
    assert api.list_gpu_schedules("node1") == ([SCHEDULE], "7")
    script.answer = (200, [{"type": "MODIFIED", "object": SCHEDULE}, {"type": "DELETED", "object": SCHEDULE}])
    events = list(api.watch_gpu_schedules("node1", "7"))
    assert [(event.manifest, event.deleted) for event in events] == [(SCHEDULE, False), (SCHEDULE, True)]
    assert "watch=true" in script.asked[-1][1]
    assert "resourceVersion=7" in script.asked[-1][1]


def test_a_watch_from_too_long_ago_is_expired(api: KubernetesApi, script: Script) -> None:
    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
    script.answer = (200, [{"type": "ERROR", "object": gone}])
    with pytest.raises(ExpiredError):
        list(api.watch_gpu_schedules("node1", "7"))


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, NotFoundError), (409, ConflictError), (410, ExpiredError), (500, ClusterError)],
)
def test_refusals_are_told_apart(
    api: KubernetesApi, script: Script, status: int, error: type[ClusterError]
) -> None:
    script.answer = (status, [{"kind": "Status", "code": status}])
    with pytest.raises(error, match=str(status)) as caught:
        api.get_resource_claim("default", "a")
    assert type(caught.value) is error


def test_nobody_there_is_an_api_server_that_is_away(tmp_path: Path) -> None:
    api = KubernetesApi(_kubeconfig(tmp_path, 1))
    with pytest.raises(AwayError, match="away"):
        api.list_gpu_schedules("node1")


@pytest.mark.parametrize("kubeconfig", ["/nowhere", ""])
def test_no_credentials_at_all_is_a_cluster_error(kubeconfig: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ClusterError, match="no cluster to talk to"):
        KubernetesApi(kubeconfig)
