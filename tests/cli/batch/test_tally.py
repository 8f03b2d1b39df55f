"""Progress and summary."""

import io

import pytest

from generation.cli.batch.answer import Answer
from generation.cli.batch.tally import LOGGED_EVERY_S, Progress, Tally, duration

GOOD = Answer.response(200, None, b'{"usage": {"prompt_tokens": 3, "completion_tokens": 20}}')
BAD = Answer.response(400, None, b'{"error": {"code": "invalid_value"}}')


class Clock:
    """A clock that stands still."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_progress_has_lines_tokens_a_second_and_the_time_left(clock: Clock) -> None:
    tally = Tally(50, before=10, clock=clock)
    for answer in [GOOD] * 9 + [BAD]:
        tally.add(answer)
    clock.now += 10
    assert tally.progress(", 4 at once") == (
        "[#########---------------] 20/50 lines, 1 failed, 3 prompt + 18 new tokens/s, 30 s left, 4 at once"
    )


def test_speed_is_that_of_the_last_minute(clock: Clock) -> None:
    tally = Tally(1000, before=0, clock=clock)
    tally.add(GOOD)
    for _ in range(20):
        clock.now += 10
        tally.progress()
    assert tally.speeds() == (0, 0, 0)
    assert "? left" in tally.progress()
    tally.add(GOOD)
    assert tally.speeds()[2] == pytest.approx(20 / 60)


def test_the_summary_counts_what_this_run_has_done_and_how_it_failed(clock: Clock) -> None:
    tally = Tally(5, before=2, failed_before=1, clock=clock)
    for answer in (GOOD, BAD):
        tally.add(answer)
    clock.now += 4
    assert tally.summary() == (
        "4 of 5 lines are answered, 2 of them by earlier runs\n"
        "2 lines in 4.0 s: 3 prompt tokens (1/s), 20 new tokens (5/s)\n"
        "2 of them failed: 1 x 400 invalid_value, 1 in earlier runs (--retry-failed tries those again)"
    )
    assert tally.failed == 2


def test_many_kinds_of_failures_are_cut_short(clock: Clock) -> None:
    tally = Tally(9, before=0, clock=clock)
    for status in range(400, 409):
        tally.add(Answer.response(status, None, b""))
    assert tally.summary().endswith("1 x 404, ...")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.26, "0.3 s"), (9.4, "9.4 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (9000, "2 h 30 min")],
)
def test_times_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_progress_is_written_over_itself_on_a_terminal_and_a_line_elsewhere(clock: Clock) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    tally = Tally(5, before=0, clock=clock)
    log, terminal = io.StringIO(), Terminal()
    for out in (log, terminal):
        progress = Progress(out, tally)
        progress.show()
        progress.show()
        progress.clear()
    assert Progress(log, tally).every_s == LOGGED_EVERY_S == 10
    assert Progress(terminal, tally).every_s < 1
    assert log.getvalue() == (tally.progress() + "\n") * 2
    assert (
        terminal.getvalue() == f"\r{tally.progress()}"[:80] + "\x1b[K" + f"\r{tally.progress()}"[:80] + "\x1b[K\r\x1b[K"
    )
