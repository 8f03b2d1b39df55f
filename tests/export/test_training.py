import torch

from generation.export.recipe import Recipe
from generation.export.training import batches, optimizers, rate, split_documents


def test_every_fiftieth_document_is_held_out() -> None:
    text = "<|endoftext|>".join(f" story {i}\n" for i in range(101)) + "<|endoftext|>\n"
    training, held_out = split_documents(text)

    assert held_out == ["story 0", "story 50", "story 100"]
    assert len(training) == 98
    assert not set(training) & set(held_out)


def test_the_rate_warms_up_holds_and_decays() -> None:
    recipe = Recipe(warmup=0.1, decay=0.5)
    rates = [rate(step, 100, recipe) for step in range(100)]

    assert rates[0] == 0.1
    assert rates[9:50] == [1.0] * 41
    assert rates[75] == 0.5
    assert rates[99] == 0.02


def test_windows_are_cut_from_the_text_and_overlap_by_the_token_to_predict() -> None:
    documents = [torch.arange(40)]
    first = next(batches(documents, Recipe(context=8, batch=2), torch.Generator().manual_seed(1)))

    assert first.shape == (2, 9)
    assert (first.diff(dim=1) == 1).all()


def test_without_a_muon_rate_adamw_trains_every_parameter() -> None:
    model = torch.nn.ModuleDict({"h": torch.nn.ModuleList([torch.nn.Linear(4, 4)]), "table": torch.nn.Embedding(4, 4)})
    (only,) = optimizers(model, Recipe(muon_rate=0.0))

    assert isinstance(only, torch.optim.AdamW)
    assert sum(p.numel() for group in only.param_groups for p in group["params"]) == 4 * 4 + 4 + 4 * 4
