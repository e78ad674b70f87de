"""Coverage-guided fuzzing of the grant protocol: `python -m tests.fuzz SECONDS`, or `make fuzz`.

atheris (libFuzzer) drives a MadSession with bytes that it varies so as to reach new code of the decoder, the
broker and the dispatcher. It ends after SECONDS; what raised is printed with the bytes that made it.
"""

import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["kneescale.agent", "kneescale.core"]):
    from kneescale.core.wire import Arrived, Done, Hello, Measured, Message, Probe, Progress, Role, Terms
    from tests.fuzz.mad_session import MAD, MadSession

_MOST_STEPS = 60
_MOST_BYTES = 80
_U8, _U16, _U32, _U64 = (2**bits - 1 for bits in (8, 16, 32, 64))


def fuzz(data: bytes) -> None:
    """One session of mad workers, as `data` says."""
    provider = atheris.FuzzedDataProvider(data)
    session = MadSession()
    session.say("a", Hello(Role.SERVE, 0))
    session.say("p", Hello(Role.PROFILE, 0))
    for _ in range(_MOST_STEPS):
        if not provider.remaining_bytes():
            break
        _step(session, provider)
    session.finish()


def _step(session: MadSession, provider: atheris.FuzzedDataProvider) -> None:
    name = MAD[provider.ConsumeBool()]
    match provider.ConsumeIntInRange(0, 7):
        case 0 | 1 | 2 | 3:
            session.say(name, _message(provider, session.now_ns))
        case 4:
            session.feed(name, provider.ConsumeBytes(provider.ConsumeIntInRange(0, _MOST_BYTES)))
        case 5 if provider.ConsumeBool():
            session.hang_up(name)
        case 5:
            session.claim_done(name, provider.ConsumeIntInRange(0, 40))
        case 6:
            session.honest_items(provider.ConsumeIntInRange(1, 40))
        case _:
            session.pass_time(1 << provider.ConsumeIntInRange(0, 35))


def _message(provider: atheris.FuzzedDataProvider, now_ns: int) -> Message:
    """A message whose times are mostly near now, as a liar's who wants to be believed."""

    def whole(most: int) -> int:
        return int(provider.ConsumeIntInRange(0, most))

    def time_ns() -> int:
        return whole(_U64) if provider.ConsumeBool() else max(0, now_ns - (1 << whole(31)))

    match whole(6):
        case 0:
            return Hello(whole(_U8), whole(_U64))
        case 1:
            return Arrived(whole(_U16), time_ns())
        case 2:
            return Done(whole(64), time_ns(), time_ns())
        case 3:
            return Probe((50, 100, 101)[whole(2)], whole(_U16), whole(_U32))
        case 4:
            return Measured(*(whole(_U32) for _ in range(7)))
        case 5:
            return Progress(whole(_U16), whole(_U16), whole(_U32))
        case _:
            return Terms(whole(_U64), whole(_U16), whole(_U8), whole(_U16))


def main() -> None:
    """Fuzz for as long as the command line says."""
    seconds = int(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="kneescale-fuzz-") as corpus:
        # Long sessions from the start: libFuzzer would begin with a handful of bytes.
        options = [f"-max_total_time={seconds}", "-max_len=1000", "-len_control=0", corpus]
        atheris.Setup([sys.argv[0], *options], fuzz)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
