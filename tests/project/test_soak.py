"""The soak in a short form, and what it would say of a server that does not keep its promises."""

import pytest

from benchmarks.soak import Sample, judge, soak


def _samples(memory: float = 0, latency: float = 0, handles: int = 0, threads: int = 0) -> list[Sample]:
    """A minute of samples of a server on which the named figures grow by that much in all."""
    return [
        Sample(
            at=at,
            memory=100 + memory * at / 60,
            cpu=at / 2,
            handles=10 + handles * at // 60,
            threads=5 + threads * at // 60,
            requests=at * 10,
            latency=0.01 + latency * at / 60,
        )
        for at in range(60)
    ]


def test_a_flat_server_is_in_bounds() -> None:
    lines, broken = judge(_samples(), 1)
    assert broken == []
    assert lines[2] == "| resident memory, MiB, median | 100.0 | 100.0 | +0.0% | +5% |"


@pytest.mark.parametrize(
    ("samples", "finding"),
    [
        (_samples(memory=15), "resident memory"),
        (_samples(latency=0.02), "latency"),
        (_samples(handles=30), "handles"),
        (_samples(threads=30), "threads"),
    ],
)
def test_what_grows_is_named(samples: list[Sample], finding: str) -> None:
    _, broken = judge(samples, 1)
    assert len(broken) == 1
    assert broken[0].startswith(finding)


def test_a_run_without_samples_is_no_success() -> None:
    assert judge(_samples()[:3], 1)[1] == ["only 3 samples were taken"]


@pytest.mark.heavy
def test_a_minute_of_mixed_load_leaves_the_server_as_it_was() -> None:
    """Times are not judged: in a minute on a busy machine, they say nothing. A prefix cache that fills is no leak."""
    lines, wrong = soak(1, 4, PREFIX_CACHE_MB="4")
    print("\n".join(lines))
    assert [one for one in wrong if not one.startswith(("latency", "CPU"))] == []
