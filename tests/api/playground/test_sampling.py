"""The sampling rules as the page draws them, against those that the server applies."""

import itertools
import math
from typing import Any

import httpx
import numpy as np
import pytest

from generation.sampling import rules as sampling
from tests.api.playground.browser import Page

RULES = {"temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0, "frequency_penalty": 0, "presence_penalty": 0}


@pytest.fixture
def loaded(page: Page) -> Page:
    """A page whose functions are called; whatever it shows does not matter."""
    return page if page.browser.title == "Playground" else page.open()


def _server(logits: Any, rules: dict[str, float], counts: dict[int, int]) -> Any:
    """Return the probabilities with which the server draws."""
    values = logits.copy()
    if counts:
        ids = np.fromiter(counts, np.int64)
        uses = np.fromiter(counts.values(), np.float32)
        values = sampling.apply_frequency_presence(
            values, ids, uses, rules["frequency_penalty"], rules["presence_penalty"]
        )
    if rules["temperature"] == 0:
        return np.eye(len(values))[values.argmax()]
    if rules["top_k"]:
        kept = sampling.top_k_candidates(values, int(rules["top_k"]))
        values = np.where(np.isin(np.arange(len(values)), kept), values, sampling.MINUS_INFINITY)
    values = sampling.apply_temperature(values, rules["temperature"])
    values = sampling.apply_top_p(values, rules["top_p"])
    values = sampling.apply_min_p(values, rules["min_p"])
    return np.exp(sampling.log_softmax(values))


def test_shares_are_those_that_the_server_draws_with(loaded: Page) -> None:
    random = np.random.default_rng(1)
    cases = []
    for temperature, top_k, top_p, min_p, penalty in itertools.product(
        (0, 0.3, 1, 1.8), (0, 1, 5), (1, 0.9, 0.2), (0, 0.05, 0.5), (0, 1.5, -0.7)
    ):
        logits = sampling.log_softmax(random.normal(0, 2, 12).astype(np.float32))
        rules = RULES | {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        rules |= {"frequency_penalty": penalty, "presence_penalty": penalty / 2}
        cases.append((logits, rules, {3: 2, 7: 1} if penalty else {}))
    asked = [
        [
            [[str(i), float(value)] for i, value in enumerate(logits)],
            rules,
            {str(i): count for i, count in counts.items()},
        ]
        for logits, rules, counts in cases
    ]
    drawn = loaded.js(
        "const drawn = ([known, rules, counts]) => shape(known, [], rules, counts).rows.map(one => one.share);"
        "return arguments[0].map(drawn)",
        asked,
    )
    for (logits, rules, counts), shares in zip(cases, drawn, strict=True):
        assert np.allclose(shares, _server(logits, rules, counts), atol=1e-5), rules


def test_the_rule_that_cuts_a_token_off_is_named(loaded: Page) -> None:
    known = [["a", math.log(0.5)], ["b", math.log(0.3)], ["c", math.log(0.15)], ["d", math.log(0.05)]]
    for rules, cut in (
        ({"top_k": 2}, ["", "", "top-k", "top-k"]),
        ({"top_p": 0.7}, ["", "", "top-p", "top-p"]),
        ({"min_p": 0.2}, ["", "", "", "min-p"]),
        ({"temperature": 0}, ["", "temperature 0", "temperature 0", "temperature 0"]),
        ({"top_k": 3, "top_p": 0.6, "min_p": 0.2}, ["", "", "top-p", "top-k"]),
    ):
        found = loaded.js("return shape(arguments[0], [], arguments[1]).rows.map(one => one.cut)", known, RULES | rules)
        assert found == cut


def test_the_tokens_that_are_not_reported_hold_what_is_left(loaded: Page) -> None:
    bins = loaded.js("return tail(0.05, 5, 0.3, 4091)")
    assert sum(count for count, _ in bins) == 4091
    assert sum(count * math.exp(logprob) for count, logprob in bins) == pytest.approx(0.3, rel=1e-6)
    assert [logprob for _, logprob in bins] == sorted((logprob for _, logprob in bins), reverse=True)
    assert bins[0][1] <= math.log(0.05)
    known = [["a", math.log(0.4)], ["b", math.log(0.25)], ["c", math.log(0.05)]]
    found = loaded.js("return shape(arguments[0], tail(0.05, 3, 0.3, 4093), arguments[1])", known, RULES)
    assert found["others"] == pytest.approx(0.3, rel=1e-6)
    assert [one["share"] for one in found["rows"]] == pytest.approx([0.4, 0.25, 0.05], rel=1e-6)
    for rules in ({"top_k": 3}, {"top_p": 0.6}, {"min_p": 0.2}, {"temperature": 0}):
        assert (
            loaded.js("return shape(arguments[0], tail(0.05, 3, 0.3, 4093), arguments[1]).others", known, RULES | rules)
            == 0
        )
    some = loaded.js(
        "return shape(arguments[0], tail(0.05, 3, 0.3, 4093), arguments[1]).others", known, RULES | {"top_k": 5}
    )
    assert 0 < some < 0.3


def test_a_slider_redraws_the_bars_and_greys_what_is_cut_off(page: Page) -> None:
    page.open()
    page.settled()
    shares = "return [...document.querySelectorAll('#rows button')].map(one => one.lastChild.textContent)"
    before = page.js(shares)
    page.set(temperature="2")
    assert page.js(shares) != before
    page.set(top_k="2")
    assert page.js(shares)[2:] == ["top-k"] * 3
    assert page.js("return document.querySelectorAll('#rows .cut').length") == 3
    assert page.js("return $('rows').lastChild.lastChild.textContent") == "cut"


def test_more_tokens_come_in_their_order(page: Page, client: httpx.Client) -> None:
    page.open()
    page.settled()
    page.click("more")
    page.until("place.known.length === 15 && allowed($('more'))")
    known = page.js("return place.known")
    assert [one[1] for one in known] == sorted((one[1] for one in known), reverse=True)
    assert len({one[0] for one in known}) == 15
    name, logprob = known[12]
    asked = {"prompt": "Once upon a time" + name, "max_tokens": 0, "echo": True, "logprobs": 0}
    scored = client.post("/v1/completions", json=asked).json()["choices"][0]["logprobs"]
    assert scored["tokens"][-1] == name
    assert scored["token_logprobs"][-1] == pytest.approx(logprob, abs=1e-4)


def test_penalties_count_the_tokens_of_the_answer(page: Page) -> None:
    page.open()
    page.hold()
    page.click("go")
    for token in (" very", " very", " very"):
        page.send(token)
    page.finish()
    page.cursor(len("Once upon a time very very"))
    assert page.js("return place.counts") == {" very": 2}
    before = page.js("return document.querySelector('#rows [aria-current]').lastChild.textContent")
    page.set(frequency_penalty="1")
    after = page.js("return document.querySelector('#rows [aria-current]').lastChild.textContent")
    assert float(after.split()[0]) < float(before.split()[0])
    page.set(frequency_penalty="0", repetition_penalty="1.3")
    assert page.js("return [...document.querySelectorAll('#rows .seen code')].map(one => one.textContent)") == ["␣very"]


def test_prompt_tokens_are_counted_live_against_the_context(page: Page, client: httpx.Client) -> None:
    page.open()
    page.find("prompt").send_keys(" there was a cat")
    count = client.post("/tokenize", json={"prompt": page.text}).json()["count"]
    page.until(f"$('meter').textContent === '{count} / 512'")
    assert "over" not in page.js("return $('meter').className")
    page.set(max_tokens="509")
    assert page.js("return $('meter').className") == "over"
    assert page.said("max_tokens-help") == f"The context has room for {512 - count} after this text."


def test_the_panel_never_shows_what_belongs_to_an_earlier_text(page: Page) -> None:
    page.open()
    page.settled()
    page.js(
        "const real = window.fetch, gate = new Promise(open => { window.release = open; });"
        "window.began = [];"
        "window.fetch = async (url, ...more) => { began.push(url); await gate; return real(url, ...more); }"
    )
    page.find("prompt").send_keys(" there")
    assert not page.rows()
    page.until("began.some(one => one.endsWith('/v1/completions'))")
    page.find("prompt").send_keys(" was")
    assert not page.rows()
    page.js("release()")
    page.until("place.known")
    assert page.js("return [place.prefix, place.known[0][0]]") == ["Once upon a time there was", " a"]
