import pytest

from kneescale.core.dispatching.scoreboard import SESSIONS, Scoreboard

SESSION_NS = 100


def scoreboard() -> Scoreboard:
    board = Scoreboard()
    board.set_session(SESSION_NS)
    return board


def test_area_is_gpu_percent_times_time() -> None:
    board = scoreboard()
    board.charge("a", 40, 50, 0)
    board.charge("a", 10, 100, 0)
    assert board.area("a") == 3000
    assert board.area("unknown") == 0


def test_what_a_run_did_not_use_is_taken_back() -> None:
    board = scoreboard()
    board.charge("a", 40, 50, 0)
    board.charge("a", 40, -20, 0)
    assert board.area("a") == 40 * 30


def test_area_fades_over_the_window_for_all_alike() -> None:
    board = scoreboard()
    board.charge("a", 100, 300, 0)
    board.charge("b", 100, 100, 0)
    board.charge("b", 100, 0, SESSIONS * SESSION_NS)
    assert board.area("a") == pytest.approx(30_000 / 2.718281828)
    assert board.area("a") / board.area("b") == pytest.approx(3)


def test_a_steady_load_has_its_share() -> None:
    board = scoreboard()
    for now_ns in range(0, 20_000, 10):
        board.charge("a", 30, 10, now_ns)
    assert board.area("a") == pytest.approx(30 * board.window_ns, rel=0.02)
    assert board.busy_share(20_000) == pytest.approx(0.3, rel=0.02)


def test_another_session_leaves_all_shares_what_they_are() -> None:
    board = scoreboard()
    board.charge("a", 30, 1000, 0)
    board.charge("b", 10, 1000, 0)
    board.refuse(5_000, 0)

    def shares() -> tuple[float, ...]:
        return board.busy_share(0), board.refused_share(0), board.area("a") / board.area("b")

    before = shares()
    board.set_session(SESSION_NS // 20)
    assert shares() == pytest.approx(before)


def test_an_idle_device_is_not_busy_for_long() -> None:
    board = scoreboard()
    board.charge("a", 100, 1000, 0)
    assert board.busy_share(10_000) < 0.01


def test_who_is_gone_is_forgotten() -> None:
    board = scoreboard()
    board.charge("a", 100, 1000, 0)
    board.forget("a")
    assert board.total_area == 0
