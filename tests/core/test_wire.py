"""The grant protocol survives any split of the byte stream and refuses what it does not know."""

import pytest
from hypothesis import given
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

_U8 = st.integers(0, 2**8 - 1)
_U16 = st.integers(0, 2**16 - 1)
_U32 = st.integers(0, 2**32 - 1)
_U64 = st.integers(0, 2**64 - 1)

MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, role=st.sampled_from(Role), born_ns=_U64),
    st.builds(Arrived, count=_U16, arrived_ns=_U64),
    st.builds(Probe, gpu_percent=_U8, batch=_U16, lasts_us=_U32),
    st.builds(Done, grant_id=_U64, started_ns=_U64, ended_ns=_U64),
    st.builds(Measured, *[_U32] * 7),
    st.builds(Terms, slo_ns=_U64, batch=_U16, gpu_percent=_U8, share_permille=_U16),
    st.builds(Grant, grant_id=_U64, gpu_percent=_U8, batch=_U16, finish_by_ns=_U64),
    st.builds(Refuse, count=_U32),
    st.builds(Restart),
    st.builds(Progress, measured=_U16, runs=_U16, error_permille=_U32),
)


@given(st.lists(MESSAGES, max_size=8), st.integers(1, 64))
def test_messages_survive_any_split_of_the_stream(messages: list[Message], piece: int) -> None:
    stream = b"".join(encode(message) for message in messages)
    decoder = Decoder()
    pieces = [stream[i : i + piece] for i in range(0, len(stream), piece)]
    assert [message for data in pieces for message in decoder.feed(data)] == messages


@given(st.lists(MESSAGES, max_size=8))
def test_who_reads_what_is_missing_reads_no_byte_of_the_next_message(messages: list[Message]) -> None:
    stream = b"".join(encode(message) for message in messages)
    decoder, read = Decoder(), list[list[Message]]()
    while stream:
        data, stream = stream[: decoder.missing], stream[decoder.missing :]
        read.append(list(decoder.feed(data)))
    assert [message for of_one in read for message in of_one] == messages
    assert all(len(of_one) <= 1 for of_one in read)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"\x02\x01\x00\x00", "version 2 of the grant protocol, this is version 6: they do not mix"),
        (b"\x06\x63\x00\x00", "unknown message kind 99"),
        (b"\x06\x01\x0b\x00", "Hello has 9 bytes, not 11"),
    ],
)
def test_foreign_bytes_are_refused(frame: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        list(Decoder().feed(frame))


def test_a_field_too_wide_is_refused() -> None:
    with pytest.raises(ProtocolError, match="Probe does not fit"):
        encode(Probe(gpu_percent=256, batch=1, lasts_us=1))
