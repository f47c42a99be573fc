"""CRD: its recorded loss, its sampling and its memory."""

import copy

import numpy as np
import pytest
import torch
from method_inputs import (
    ARRAYS,
    DTYPES,
    RECORDS,
    batch_of,
    checksum,
    each_precision,
    near,
    normal,
    outputs,
    positive,
    setting_of,
)
from recipe import load_recipe
from torch import nn

from distiller_zoo import (
    crd,
)
from distiller_zoo.base import Outputs, Setting
from helper.errors import UserError

# --- CRD


@each_precision
def test_recorded_crd(precision, monkeypatch):
    record, dtype = RECORDS[f"CRD_{precision}"], DTYPES[precision]
    shapes = [torch.Size((16, 64))], [torch.Size((16, 256))]
    method = crd.CRD(Setting(*shapes, train_labels=torch.arange(500) % 10, nce_k=64))
    load_recipe(method.embed_s), load_recipe(method.embed_t)
    bound = 1 / np.sqrt(128 / 3)
    for name, seed in (("memory_v1", 201), ("memory_v2", 202)):
        rows = np.random.RandomState(seed).uniform(-bound, bound, (500, 128))
        setattr(method.contrast, name, torch.from_numpy(rows))
    method.to(dtype)
    layout = [
        [key, list(value.shape), str(value.dtype)] for key, value in method.state_dict().items()
    ]
    assert layout == record["state_dict"]
    assert method.contrast.params.tolist() == near(record["params_buffer_before"], 1e-9)

    for step, expected in enumerate(record["steps"]):
        idx, indices = (
            torch.from_numpy(ARRAYS[f"CRD/step{step}/{name}"]) for name in ("idx", "contrast_idx")
        )
        monkeypatch.setattr(method, "draw_indices", lambda rows, indices=indices: indices)
        student = positive(230 + step, 16, 64).to(dtype).requires_grad_()
        teacher = positive(240 + step, 16, 256).to(dtype).requires_grad_()
        method.zero_grad()
        loss = method(Outputs(None, [student]), Outputs(None, [teacher]), batch_of(idx))
        loss.backward()

        def same(value, key, expected=expected):
            assert float(value) == near(expected[key], 1e-9, 2e-5, precision=precision), key

        same(loss.detach(), "loss")
        same(student.grad.norm(), "grad_norm_student_feat")
        same(teacher.grad.norm(), "grad_norm_teacher_feat")
        same(checksum(student.grad), "grad_dot_student_feat")
        same(method.embed_s.linear.weight.grad.norm(), "grad_norm_embed_s_weight")
        same(method.embed_s.linear.bias.grad.norm(), "grad_norm_embed_s_bias")
        same(method.contrast.params[2], "Z_v1")
        same(method.contrast.params[3], "Z_v2")
        same(method.contrast.memory_v1.sum(), "sum_memory_v1")
        same(method.contrast.memory_v2.sum(), "sum_memory_v2")
        for name in ("memory_v1", "memory_v2"):
            rows = getattr(method.contrast, name)[idx].double()
            recorded = torch.from_numpy(ARRAYS[f"CRD/step{step}/{name}_at_idx"])
            torch.testing.assert_close(
                rows, recorded, rtol=0, atol=1e-9 if precision == "f64" else 1e-6
            )
    assert method.contrast.params.tolist() == near(
        record["params_buffer_after"], 1e-9, 2e-5, precision=precision
    )


labels_of_40 = torch.tensor(np.random.RandomState(0).choice(4, 40, p=[0.1, 0.2, 0.3, 0.4]))


def draw(rows, negatives, mode="exact", seed=0):
    return crd.ContrastSampler(labels_of_40, mode)(
        torch.tensor(rows), negatives, torch.Generator().manual_seed(seed)
    )


def chi_square(draws, choices):
    """The statistic of draws, all among the choices, against the uniform distribution.

    Its mean is len(choices) - 1.
    """
    counts = np.array([int((draws == choice).sum()) for choice in choices])
    assert counts.sum() == draws.numel()
    expected = draws.numel() / len(choices)
    return ((counts - expected) ** 2 / expected).sum()


@pytest.mark.parametrize("row", [int((labels_of_40 == label).nonzero()[0]) for label in range(4)])
def test_negatives_are_uniform_over_the_other_classes(row):
    others = (labels_of_40 != labels_of_40[row]).nonzero().flatten().tolist()
    negatives = draw([row, row], 20_000)[:, 1:]
    freedom = len(others) - 1
    assert chi_square(negatives, others) < freedom + 5 * np.sqrt(2 * freedom)


def test_positives():
    rows = list(range(40))
    assert draw(rows, 3)[:, 0].tolist() == rows
    assert torch.equal(labels_of_40[draw(rows, 3, "relax")[:, 0]], labels_of_40)
    same_class = (labels_of_40 == labels_of_40[5]).nonzero().flatten().tolist()
    freedom = len(same_class) - 1
    relaxed = draw([5] * 5000, 1, "relax")[:, 0]
    assert chi_square(relaxed, same_class) < freedom + 5 * np.sqrt(2 * freedom)


def test_draws_follow_from_the_generator():
    indices = draw([1, 2], 50)
    assert torch.equal(indices, draw([1, 2], 50))
    assert not torch.equal(indices, draw([1, 2], 50, seed=1))
    assert not torch.equal(*draw([1, 1], 50))  # images have their own negatives


@pytest.mark.parametrize(
    "labels, mode, message", [([0, 1], "near", "exact, relax"), ([1, 1], "exact", "two classes")]
)
def test_what_cannot_be_contrasted(labels, mode, message):
    with pytest.raises(UserError, match=f"--distill crd: .*{message}"):
        crd.ContrastSampler(torch.tensor(labels), mode)


def crd_step(method, step, is_clean=True):
    shapes = [torch.Size((4, 64))], [torch.Size((4, 128))]
    student, teacher = outputs(shapes[0], 100 + step), outputs(shapes[1], 200 + step)
    rows = [(4 * step + i) % 50 for i in range(4)]
    return method(student, teacher, batch_of(rows, is_clean)).item()


def test_second_views_are_contrasted_but_not_remembered():
    method = crd.CRD(setting_of("resnet8", "wrn_16_2"))
    first = method.contrast.memory_v1.clone(), method.contrast.memory_v2.clone()
    crd_step(method, 0, is_clean=False)
    assert torch.equal(method.contrast.memory_v1, first[0]) and torch.equal(
        method.contrast.memory_v2, first[1]
    )
    crd_step(method, 0)
    changed = (method.contrast.memory_v1 != first[0]).any(1).nonzero().flatten()
    assert changed.tolist() == [0, 1, 2, 3]


def test_crd_goes_on_as_if_never_stopped():
    generator = torch.Generator().manual_seed(5)
    method = crd.CRD(setting_of("resnet8", "wrn_16_2", generator=generator))
    crd_step(method, 0), crd_step(method, 1)
    state, generator_state = copy.deepcopy(method.state_dict()), generator.get_state()
    expected = [crd_step(method, 2), crd_step(method, 3)]

    generator = torch.Generator()
    method = crd.CRD(setting_of("resnet8", "wrn_16_2", generator=generator))
    method.load_state_dict(state)
    generator.set_state(generator_state)
    assert [crd_step(method, 2), crd_step(method, 3)] == expected


def test_contrasting_with_few_images_is_the_formula():
    """All in loops, from embeddings to loss; an image drawn twice counts twice."""
    v1, v2, mem1, mem2 = (nn.functional.normalize(normal(seed, 3, 4)) for seed in range(4))
    memory = crd.ContrastMemory(3, 4, nce_k=2, nce_t=0.5, nce_m=0.5).double()
    memory.memory_v1, memory.memory_v2 = mem1, mem2
    indices = [[0, 1, 1], [1, 2, 0], [2, 0, 0]]
    expected = 0.0
    for v, mem in ((v1, mem2), (v2, mem1)):
        out = [[np.exp(float(v[b] @ mem[i]) / 0.5) for i in row] for b, row in enumerate(indices)]
        probabilities = [[o / (np.mean(out) * 3) for o in row] for row in out]
        for p_0, *negatives in probabilities:
            expected -= np.log(p_0 / (p_0 + 2 / 3 + 1e-7)) / 3
            expected -= sum(np.log((2 / 3) / (p + 2 / 3 + 1e-7)) for p in negatives) / 3
    assert float(memory(v1, v2, torch.tensor(indices))) == pytest.approx(expected, rel=1e-9)
