"""Any bytes in any pieces, any messages in any order: only ProtocolError, only the mad one's trouble."""

from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from kneescale.core.errors import ProtocolError
from kneescale.core.wire import (
    Arrived,
    Decoder,
    Done,
    Grant,
    Hello,
    Measured,
    Message,
    Probe,
    Progress,
    Refuse,
    Restart,
    Role,
    Terms,
    encode,
)
from tests.fuzz.mad_session import MAD, MadSession

_U8, _U16, _U32, _U64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
#: Times and ids that a worker could mean, and any others.
_TIMES = st.one_of(st.integers(10**9, 3 * 10**9), _U64)
_IDS = st.one_of(st.integers(0, 40), _U64)
_COUNTS = st.one_of(st.integers(0, 40), _U16)

_MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, st.one_of(st.sampled_from(Role), _U8), _TIMES),
    st.builds(Arrived, _COUNTS, _TIMES),
    st.builds(Probe, st.one_of(st.sampled_from((50, 100)), _U8), _COUNTS, _U32),
    st.builds(Done, _IDS, _TIMES, _TIMES),
    st.builds(Measured, *[_U32] * 7),
    st.builds(Terms, _U64, _U16, _U8, _U16),
    st.builds(Grant, _IDS, _U8, _U16, _U64),
    st.builds(Refuse, _U32),
    st.builds(Restart),
    st.builds(Progress, _U16, _U16, _U32),
)
_NAMES = st.sampled_from(MAD)
_STEPS = st.one_of(
    st.builds(lambda name, message: partial(MadSession.say, name=name, message=message), _NAMES, _MESSAGES),
    st.builds(
        lambda name, data: partial(MadSession.feed, name=name, data=data), _NAMES, st.binary(max_size=40)
    ),
    st.builds(lambda name: partial(MadSession.hang_up, name=name), _NAMES),
    st.builds(
        lambda name, grant_id: partial(MadSession.claim_done, name=name, grant_id=grant_id),
        _NAMES,
        st.integers(0, 10),
    ),
    st.builds(lambda count: partial(MadSession.honest_items, count=count), st.integers(1, 40)),
    st.builds(
        lambda ns: partial(MadSession.pass_time, passed_ns=ns),
        st.sampled_from((0, 1, 100_000, 5_000_000, 80_000_000, 20_000_000_000)),
    ),
)
_HELLOS = (
    partial(MadSession.say, name="a", message=Hello(Role.SERVE, 0)),
    partial(MadSession.say, name="p", message=Hello(Role.PROFILE, 0)),
)


@settings(max_examples=300)
@given(st.lists(_STEPS, max_size=60))
def test_mad_workers_harm_nobody_else(steps: list[partial[None]]) -> None:
    session = MadSession()
    for step in (*_HELLOS, *steps):
        step(session)
    session.finish()


@settings(deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=20))
def test_garbage_is_refused_or_waited_for_and_never_kept(pieces: list[bytes]) -> None:
    decoder, fed, messages = Decoder(), b"", list[Message]()
    for piece in pieces:
        fed += piece
        try:
            messages += decoder.feed(piece)
        except ProtocolError:
            break
        taken = b"".join(map(encode, messages))
        assert fed == taken + bytes(decoder._pending), "no byte is lost, and none is read twice"
        assert len(decoder._pending) < 64
