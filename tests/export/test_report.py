from dataclasses import replace

import pytest

from generation.export.defaults import CacheType, Precision
from generation.export.errors import ExportError
from generation.export.report import Greedy, Perplexity, Report, judge

FP32 = Report(
    precision="fp32",
    cache="float32",
    evaluation_tokens=1000,
    largest_logit_difference=1e-5,
    reference_logit_difference=1e-5,
    greedy=Greedy(prompts=4, steps=64, agreement=1.0, largest_margin=0.0, batch_difference=1e-6),
    perplexity=Perplexity(checkpoint=40.0, artifact=40.0, change=0.0),
)
INT8 = replace(FP32, precision="int8", cache="int8", largest_logit_difference=0.5)


def test_good_figures_pass() -> None:
    judge(FP32)
    judge(INT8)


@pytest.mark.parametrize(("cache", "advice"), [("int8", "--cache float32, or fp32"), ("float32", "Use fp32,")])
def test_the_refusal_names_what_costs_less(cache: CacheType, advice: str) -> None:
    with pytest.raises(ExportError, match=advice):
        judge(replace(INT8, cache=cache, perplexity=Perplexity(checkpoint=40, artifact=44, change=0.1)))


def test_a_tie_is_not_a_difference() -> None:
    judge(replace(FP32, greedy=replace(FP32.greedy, agreement=0.99, largest_margin=1e-5)))


def test_another_choice_is_a_difference() -> None:
    with pytest.raises(ExportError, match="greedy agreement 99"):
        judge(replace(FP32, greedy=replace(FP32.greedy, agreement=0.99, largest_margin=0.1)))


def test_a_reference_that_differs_is_refused() -> None:
    with pytest.raises(ExportError, match="reference export differs"):
        judge(replace(INT8, reference_logit_difference=0.1))


@pytest.mark.parametrize("precision", ["fp32", "int8", "int8-blocks", "int4"])
def test_not_a_number_is_refused(precision: Precision) -> None:
    nan = float("nan")
    spoiled = replace(
        FP32,
        precision=precision,
        largest_logit_difference=nan,
        perplexity=replace(FP32.perplexity, artifact=nan, change=nan),
    )

    with pytest.raises(ExportError):
        judge(spoiled, allow_loss=True)


def test_int8_that_costs_too_much_is_refused_unless_allowed() -> None:
    lossy = replace(INT8, perplexity=Perplexity(checkpoint=40, artifact=41.6, change=0.04))

    with pytest.raises(ExportError, match=r"\+4\.0% perplexity.*40\.00 -> 41\.60.*--allow-loss"):
        judge(lossy)
    judge(lossy, allow_loss=True)


def test_int4_may_cost_more() -> None:
    lossy = replace(INT8, precision="int4", perplexity=Perplexity(checkpoint=40, artifact=43.6, change=0.09))

    judge(lossy)
    with pytest.raises(ExportError, match=r"int4 would cost \+11\.0%.*more than 10%. Use int8 or fp32"):
        judge(replace(lossy, perplexity=Perplexity(checkpoint=40, artifact=44.4, change=0.11)))
