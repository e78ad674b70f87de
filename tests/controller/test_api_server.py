"""Requests as they reach a server, and what its answers become."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio import client as kubernetes_client

from kneescale.api.node import parse_node
from kneescale.controller.api_server import ApiError, HttpApiServer
from kneescale.controller.resources import INFERENCE_MODEL, NODE, RESOURCE_SLICE, Object

SERVICE: Object = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "vad", "namespace": "shop", "uid": "u"},
}
MODEL: Object = {
    "apiVersion": "kneescale.dev/v1alpha1",
    "kind": "InferenceModel",
    "metadata": {"name": "vad", "namespace": "shop"},
    "status": {"replicas": 1},
}


class Recorder:
    """Answers every request with the next answer, and keeps what came in."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.lines: list[str] = []
        self.bodies: list[Any] = []
        self.content_types: list[str] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.lines.append(f"{request.method} {request.path_qs}")
        self.content_types.append(request.content_type)
        self.bodies.append(await request.json() if request.can_read_body else None)
        status, body = self.answers.pop(0)
        return web.json_response(body, status=status)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def server(recorder: Recorder) -> AsyncIterator[TestServer]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", recorder.handle)
    server = TestServer(app)
    await server.start_server()
    yield server
    await server.close()


@pytest.fixture
async def api(server: TestServer) -> AsyncIterator[HttpApiServer]:
    configuration: Any = kubernetes_client.Configuration(host=str(server.make_url("")).rstrip("/"))
    client: Any = kubernetes_client.ApiClient(configuration)
    yield HttpApiServer(client)
    await client.close()


async def test_listing_asks_for_what_the_kind_selects(api: HttpApiServer, recorder: Recorder) -> None:
    recorder.answers.append(
        (200, {"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "n"}}]})
    )
    listing = await api.list(RESOURCE_SLICE)
    assert recorder.lines == [
        "GET /apis/resource.k8s.io/v1/resourceslices?fieldSelector=spec.driver%3Dgpu.kneescale.dev&limit=250"
    ]
    assert listing.resource_version == 7
    assert listing.items[0]["kind"] == "ResourceSlice"


async def test_listing_a_kind_of_the_core_group(api: HttpApiServer, recorder: Recorder) -> None:
    recorder.answers.append((200, {"metadata": {"resourceVersion": "7"}, "items": []}))
    await api.list(NODE)
    assert recorder.lines == ["GET /api/v1/nodes?limit=250"]


async def test_a_long_listing_comes_in_pages(api: HttpApiServer, recorder: Recorder) -> None:
    first = {"metadata": {"resourceVersion": "7", "continue": "a/b"}, "items": [{"metadata": {"name": "m"}}]}
    last = {"metadata": {"resourceVersion": "7", "continue": ""}, "items": [{"metadata": {"name": "n"}}]}
    recorder.answers += [(200, first), (200, last)]
    listing = await api.list(INFERENCE_MODEL)
    assert [item["metadata"]["name"] for item in listing.items] == ["m", "n"]
    assert recorder.lines[1].endswith("/inferencemodels?limit=250&continue=a/b")


async def test_of_a_node_only_what_the_plan_reads_is_kept(api: HttpApiServer, recorder: Recorder) -> None:
    ready = {"type": "Ready", "status": "Unknown", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    whole = {
        "metadata": {"name": "node1", "uid": "u", "resourceVersion": "6", "annotations": {"a": "long"}},
        "spec": {
            "unschedulable": True,
            "taints": [{"key": "k", "effect": "NoSchedule"}],
            "podCIDR": "10.0.0.0/24",
        },
        "status": {"conditions": [{"type": "DiskPressure", "status": "False"}, ready], "images": ["many"]},
    }
    recorder.answers.append((200, {"metadata": {"resourceVersion": "7"}, "items": [whole]}))
    (kept,) = (await api.list(NODE)).items
    assert parse_node(kept) == replace(parse_node(whole), metadata=parse_node(kept).metadata)
    assert parse_node(kept).owner == parse_node(whole).owner
    assert not {"annotations", "podCIDR", "images", "DiskPressure"} & set(re.findall(r"\w+", str(kept)))


async def test_apply_is_server_side_and_takes_fields_over(api: HttpApiServer, recorder: Recorder) -> None:
    recorder.answers.append((200, SERVICE))
    assert await api.apply(SERVICE) == SERVICE
    query = "fieldManager=kneescale-operator&force=true"
    assert recorder.lines == [f"PATCH /api/v1/namespaces/shop/services/vad?{query}"]
    assert recorder.content_types == ["application/apply-patch+yaml"]
    assert recorder.bodies == [SERVICE]


async def test_apply_may_leave_what_others_wrote(api: HttpApiServer, recorder: Recorder) -> None:
    recorder.answers.append((409, {"message": "Apply failed with 1 conflict"}))
    with pytest.raises(ApiError, match="1 conflict"):
        await api.apply(SERVICE, force=False)
    assert recorder.lines[0].endswith("&force=false")


async def test_get_tells_what_there_is_of_the_name(api: HttpApiServer, recorder: Recorder) -> None:
    recorder.answers += [(200, SERVICE), (404, {"message": "not found"}), (503, {"message": "slow"})]
    assert await api.get(SERVICE) == SERVICE
    assert await api.get(SERVICE) is None
    with pytest.raises(ApiError, match="slow"):
        await api.get(SERVICE)
    assert recorder.lines == ["GET /api/v1/namespaces/shop/services/vad"] * 3


async def test_apply_to_the_status_subresource(api: HttpApiServer, recorder: Recorder) -> None:
    recorder.answers.append((200, MODEL))
    await api.apply(MODEL, "status")
    path = "/apis/kneescale.dev/v1alpha1/namespaces/shop/inferencemodels/vad/status"
    assert recorder.lines[0].startswith(f"PATCH {path}?")


async def test_delete_is_for_this_very_object(api: HttpApiServer, recorder: Recorder) -> None:
    recorder.answers.append((200, {}))
    await api.delete(SERVICE)
    assert recorder.lines == ["DELETE /api/v1/namespaces/shop/services/vad"]
    assert recorder.bodies[0]["preconditions"] == {"uid": "u"}
    assert "gracePeriodSeconds" not in recorder.bodies[0]


async def test_delete_may_give_less_time_to_end(api: HttpApiServer, recorder: Recorder) -> None:
    recorder.answers.append((200, {}))
    await api.delete(SERVICE, grace_s=1)
    assert recorder.bodies[0]["gracePeriodSeconds"] == 1


@pytest.mark.parametrize("status", [404, 409])
async def test_what_is_gone_already_counts_as_deleted(
    api: HttpApiServer, recorder: Recorder, status: int
) -> None:
    recorder.answers.append((status, {"message": "gone"}))
    await api.delete(SERVICE)
    assert len(recorder.lines) == 1


async def test_a_refusal_keeps_the_servers_sentence(api: HttpApiServer, recorder: Recorder) -> None:
    recorder.answers.append((422, {"kind": "Status", "message": "spec.slo is wrong"}))
    with pytest.raises(ApiError, match="slo is wrong") as caught:
        await api.apply(SERVICE)
    assert caught.value.status == 422


async def test_a_refusal_without_a_sentence_tells_the_status(api: HttpApiServer, recorder: Recorder) -> None:
    recorder.answers.append((503, ["?"]))
    with pytest.raises(ApiError, match="answered 503"):
        await api.list(INFERENCE_MODEL)


async def test_a_server_that_is_away_has_no_status(api: HttpApiServer, server: TestServer) -> None:
    await server.close()
    with pytest.raises(ApiError, match="does not answer") as caught:
        await api.list(INFERENCE_MODEL)
    assert caught.value.status is None
