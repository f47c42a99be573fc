"""T. stddev and its two companions, against the recorded sequences and against NumPy."""

import json
import math

import numpy as np
import pytest
import torch
from places import GOLDEN

from helper.step.teacher_stats import (
    CovarianceMeans,
    CrossEntropyCovariance,
    TeacherStddev,
    sum_below_diagonal,
)

FACTS = json.loads((GOLDEN / "tstddev.json").read_text())
ARRAYS = np.load(GOLDEN / "tstddev.npz")
SEQUENCES = [name for name in FACTS if name[1] == "_"]


def rows_of(text, shape):
    """Read "RandomState(1000).standard_normal((2560,100))*4.0; ..." of the golden file."""
    seed = int(text.split("RandomState(")[1].split(")")[0])
    scale = float(text.split("*")[1].split(";")[0])
    return np.random.RandomState(seed).standard_normal(shape) * scale


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def batches_of(case):
    """One tuple of views' probabilities a step, over all epochs."""
    classes = case["num_classes"]
    views = [(case["teacher_logits_orig"], case["batch_sizes_per_epoch"])]
    if case["teacher_logits_mix"]:
        views.append((case["teacher_logits_mix"], case["mixed_batch_sizes_per_epoch"]))
    split = []
    for text, sizes in views:
        sizes = sizes * case["epochs"]
        probabilities = torch.from_numpy(softmax(rows_of(text, (sum(sizes), classes))))
        split.append(probabilities.split(sizes))
    return list(zip(*split))


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("precision", ["f64", "f32"])
def test_recorded_sequence(name, precision):
    case, steps = FACTS[name], batches_of(FACTS[name])
    per_epoch = len(case["batch_sizes_per_epoch"])
    dtype, tolerance = (torch.float64, 1e-12) if precision == "f64" else (torch.float32, 2e-6)
    stddev, lines = TeacherStddev(case["num_classes"]), []
    for index, views in enumerate(steps):
        if stddev.update(*(view.to(dtype) for view in views)):
            epoch, step = divmod(index, per_epoch)
            lines.append((stddev.groups, epoch + 1, step, index, *stddev.value()))
    expected = ARRAYS[f"{name}/{precision}/rows"]
    np.testing.assert_allclose(np.array(lines), expected, rtol=tolerance, atol=tolerance * 1e-2)
    printed = [f"MeanStd {line[4]:.6f} MeanEntropy {line[5]:.6f}" for line in lines]
    if precision == "f64":
        assert [line.split("MeanStd")[1] for line in case["printed_lines"]] == [
            p.split("MeanStd")[1] for p in printed
        ]


def test_value_is_what_numpy_says():
    case = FACTS["C_carry_lwmix"]
    stddev, draws, group, entropies = TeacherStddev(100), [], [], []
    for index, views in enumerate(batches_of(case)):
        stddev.update(*views)
        rows = np.concatenate([view.numpy() for view in views])
        group.append(rows)
        entropies.append(-(rows * np.log(rows)).sum(axis=1))
        if index % 5 == 4:
            draws.append(np.concatenate(group).mean(axis=0))
            group = []
    value, entropy = stddev.value()
    assert value == pytest.approx(np.std(draws, axis=0, ddof=1).mean(), rel=1e-12)
    assert entropy == pytest.approx(np.concatenate(entropies).mean(), rel=1e-12)
    np.testing.assert_allclose(draws, ARRAYS["C_carry_lwmix/avg_prob"], rtol=1e-12)


def test_sanity_of_a_one_hot_teacher():
    """mean_k sqrt(p_k (1 - p_k) / n): 0.0039 for 100 classes and 640 rows a group."""
    labels = torch.from_numpy(np.random.RandomState(0).randint(0, 100, 640 * 2000)).view(-1, 128)
    stddev = TeacherStddev(100)
    for batch in labels:
        stddev.update(torch.nn.functional.one_hot(batch, 100).double())
    value, entropy = stddev.value()
    assert value == pytest.approx(math.sqrt(0.01 * 0.99 / 640), rel=0.01)
    assert entropy == 0.0


def test_first_group_has_no_deviation_and_memory_is_constant():
    stddev = TeacherStddev(10)
    rows = torch.full((4, 10), 0.1)
    assert math.isnan(stddev.value()[0]) and math.isnan(stddev.value()[1])
    for _ in range(5):
        stddev.update(rows)
    assert math.isnan(stddev.value()[0])
    size = sum(torch.as_tensor(v).numel() for v in stddev.state_dict().values())
    for _ in range(500):
        stddev.update(rows)
    assert stddev.value()[0] == pytest.approx(0.0, abs=1e-15)
    assert sum(torch.as_tensor(v).numel() for v in stddev.state_dict().values()) == size


def test_state_continues():
    steps = batches_of(FACTS["E_pick_lastbatch"])
    whole, first = TeacherStddev(100), TeacherStddev(100)
    for views in steps:
        whole.update(*views)
    for views in steps[:13]:  # in the middle of a group
        first.update(*views)
    second = TeacherStddev(100)
    second.load_state_dict(first.state_dict())
    for views in steps[13:]:
        second.update(*views)
    assert second.value() == whole.value()


@pytest.mark.parametrize("name", FACTS["v2"])
def test_covariance_means(name):
    case = FACTS["v2"][name]
    rows, shape = case["batches"] * case["B"], (case["batches"] * case["B"], case["C"])
    assert rows == shape[0]
    original = torch.from_numpy(softmax(rows_of(case["teacher_logits_orig"], shape))).split(
        case["B"]
    )
    mixed = torch.from_numpy(softmax(rows_of(case["teacher_logits_mix"], shape))).split(case["B"])
    means = CovarianceMeans()
    for views in zip(mixed, original):
        means.update(*views)
    expected = case["running_means_after_last_batch"]
    wanted = [value for matrix in ("cov1", "cov2", "corr1", "corr2") for value in expected[matrix]]
    np.testing.assert_allclose(list(means.value().values()), wanted, rtol=1e-9, atol=1e-16)


@pytest.mark.parametrize("name", ["small_lwmix", "small_nomix", "released_thresholds"])
def test_cross_entropy_covariance(name):
    case = FACTS["v3"][name]
    size, classes = case["B"], case["C"]
    shape = (case["batches"] * size, classes)
    views = ["orig", "mix"] if case["lw_mix"] else ["orig"]
    teacher, student = (
        [torch.from_numpy(rows_of(case[f"{who}_{view}"], shape)).split(size) for view in views]
        for who in ("teacher", "student")
    )
    thresholds = case["thresholds"]
    statistic = CrossEntropyCovariance(thresholds["elements_per_vector"], thresholds["vectors"])
    for step in range(case["batches"]):
        assert not statistic.full
        for view in range(len(views)):
            statistic.update(teacher[view][step], student[view][step])
    assert statistic.full
    exact, approximate = statistic.value()
    # differences of sums a million times larger: float64 leaves seven digits
    assert exact == pytest.approx(case["Cov"], rel=1e-6)
    assert approximate == pytest.approx(case["Cov_approx"], rel=1e-6)
    if name != "released_thresholds":
        vectors = statistic.values.view(2, thresholds["vectors"], -1).numpy()
        scaled = vectors / vectors.max(axis=1, keepdims=True)
        np.testing.assert_allclose(vectors[0].shape, ARRAYS[f"v3/{name}/all_RV_samples"].shape)
        for computed, key in zip(scaled, ("all_RV_samples", "all_RV_samples_approx")):
            stored = ARRAYS[f"v3/{name}/{key}"]
            np.testing.assert_allclose(computed, stored / stored.max(axis=0), rtol=1e-9)


def test_cross_entropy_covariance_cuts_vectors_across_batches():
    """A batch size that does not divide the width, as in CIFAR-100's last batch of 16."""
    random = np.random.RandomState(0)
    teacher, student = (torch.from_numpy(random.standard_normal((100, 5))) for _ in range(2))
    whole, parts = CrossEntropyCovariance(10, 8), CrossEntropyCovariance(10, 8)
    whole.update(teacher[:80], student[:80])
    for rows in zip(teacher.split(7), student.split(7)):
        parts.update(*rows)
    assert whole.full and parts.full and parts.value() == pytest.approx(whole.value(), rel=1e-12)


def test_sum_below_diagonal_is_the_matrix_sum():
    vectors = np.random.RandomState(3).uniform(1, 2, (20, 7))
    matrix = np.cov(vectors / vectors.max(axis=0), rowvar=False)
    expected = np.tril(matrix, k=-1).sum() / 49
    assert sum_below_diagonal(torch.from_numpy(vectors)) == pytest.approx(expected, rel=1e-10)
    assert math.isnan(sum_below_diagonal(torch.ones(1, 3)))
