import pytest

from generation.engine.pace import Pace


def test_the_estimate_follows_what_is_measured() -> None:
    pace = Pace()
    for _ in range(200):
        pace.saw_step(0.004)
        pace.saw_prefill(0.05, 100)
    assert pace.backlog_s(1000, 800, 8) == pytest.approx(1000 * 0.0005 + 100 * 0.004, rel=1e-3)


def test_nothing_to_do_takes_no_time() -> None:
    assert Pace().backlog_s(0, 0, 8) == 0
