"""Backoff for each write on its own."""

import math

from kneescale.controller.difference import Item, Verb
from kneescale.controller.failures import BACKOFF, Failures

POD = Item(Verb.APPLY, "Pod", "shop", "vad-0123abcd")
SERVICE = Item(Verb.APPLY, "Service", "shop", "vad")
VAD, ASR = ("shop", "vad"), ("shop", "asr")
MODEL = frozenset({VAD})


def test_what_has_not_failed_may_be_tried() -> None:
    assert Failures().may_try(POD, now_s=0)
    assert Failures().next_try_s() == math.inf


def test_the_delay_doubles_up_to_a_limit() -> None:
    failures = Failures()
    delays = [failures.failed(POD, MODEL, "no", now_s=0) for _ in range(10)]
    # docs/failures.md says so of the longest, of the operator as of the agent.
    assert (delays[:3], delays[-1]) == ([1, 2, 4], 30)


def test_a_failed_item_waits_and_the_others_do_not() -> None:
    failures = Failures()
    failures.failed(POD, MODEL, "no", now_s=10)
    assert not failures.may_try(POD, now_s=10.5)
    assert failures.may_try(POD, now_s=11)
    assert failures.may_try(SERVICE, now_s=10.5)
    assert failures.next_try_s() == 11


def test_success_forgets() -> None:
    failures = Failures()
    failures.failed(POD, MODEL, "no", now_s=0)
    failures.succeeded(POD)
    assert failures.by_model() == {}
    assert failures.failed(POD, MODEL, "no", now_s=0) == BACKOFF.first_s


def test_each_model_has_its_error_until_the_item_is_not_wanted_any_more() -> None:
    failures = Failures()
    failures.failed(POD, MODEL, "apply Pod shop/vad-0123abcd: refused", now_s=0)
    failures.failed(Item(Verb.APPLY, "GPUSchedule", "", "node1-gpu0"), frozenset({ASR}), "no", now_s=0)
    failures.failed(Item(Verb.APPLY, "ModelProfile", "shop", "vad-v100"), frozenset(), "no", now_s=0)
    assert failures.by_model() == {VAD: "apply Pod shop/vad-0123abcd: refused", ASR: "no"}
    failures.keep_only(set())
    assert failures.by_model() == {}
