"""tests/cuda/test_real_gpu.py has what a GPU replays."""

import torch

from helper.speed.graphs import EAGER_CALLS, MOST_GRAPHS, Graphs


def test_what_cannot_be_recorded_runs_as_it_is(monkeypatch):
    def refuse(*_):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", refuse)
    graphs, images = Graphs(lambda images: images.sum(dim=(1, 2, 3))), torch.ones(4, 3, 2, 2)
    results = [graphs(images * i) for i in range(EAGER_CALLS + 3)]
    assert [float(each[0]) for each in results] == [12.0 * i for i in range(len(results))]
    assert list(graphs.recorded.values()) == [None]


def test_only_so_many_shapes_are_recorded(monkeypatch):
    graphs = Graphs(lambda images: images.sum(dim=(1, 2, 3)))
    monkeypatch.setattr(graphs, "_record", lambda images: None)
    for rows in range(1, MOST_GRAPHS + 3):
        for _ in range(EAGER_CALLS + 1):
            assert len(graphs(torch.ones(rows, 3, 2, 2))) == rows
    assert len(graphs.recorded) == MOST_GRAPHS


def test_a_large_batch_is_not_recorded(monkeypatch):
    graphs = Graphs(lambda images: images.sum(dim=(1, 2, 3)))
    monkeypatch.setattr(graphs, "_record", lambda images: None)
    for count, is_recorded in ((512, True), (513, False)):
        for _ in range(EAGER_CALLS + 1):
            graphs(torch.ones(1, 1, 1, 1).expand(count, 3, 32, 32))
        assert any(key[0][0] == count for key in graphs.recorded) == is_recorded
