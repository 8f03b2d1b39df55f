import numpy as np

from generation.export.nodes import GraphWriter


def test_a_constant_of_one_name_is_written_once() -> None:
    writer = GraphWriter()
    writer.constant("a", np.zeros(3, np.float32))
    writer.constant("a", np.ones(3, np.float32))

    (only,) = writer.model("test", [], []).graph.initializer
    assert only.name == "a"


def test_outputs_never_share_a_name() -> None:
    writer = GraphWriter()
    names = [writer.node("Abs", ["x"]) for _ in range(5)]

    assert len(set(names)) == 5
