"""Statistics of the teacher's outputs that tell how good a DA is for distillation.

Nothing else defines them.

H. Wang et al., "What Makes a 'Good' Data Augmentation in Knowledge Distillation - A Statistical
Perspective", NeurIPS 2022, arXiv 2012.02909. A good DA lowers the covariance of the samples'
losses; what of that can be seen from the teacher alone is how much its mean probability still
varies between groups of batches. All sums run in float64 and take constant memory, however long the
pass.
"""

from typing import Any

import torch

from helper.processes import distributed

GROUP_STEPS = 5
"""Steps that make one group, i.e. one draw of the mean probability."""


class RunningSums:
    """Sums that can be saved and loaded: every attribute is a tensor or a number."""

    def state_dict(self) -> dict[str, Any]:
        return {
            name: value.clone() if torch.is_tensor(value) else value
            for name, value in vars(self).items()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, current in vars(self).items():
            value = state[name]
            setattr(self, name, value.to(current.device) if torch.is_tensor(value) else value)


class TeacherStddev(RunningSums):
    """T. stddev (`--utils.check_ce_var`).

    u, the mean over the rows of five steps of p = softmax(teacher logits), is one draw in R^K. T.
    stddev is the mean over the K classes of the unbiased standard deviation of u over all groups so
    far. A group may span an epoch's end; a group left unfinished at the end of the pass does not
    count.
    """

    def __init__(
        self, num_classes: int, device: torch.device | str = "cpu", *, is_divided: bool = False
    ) -> None:
        """is_divided: of several processes of a run each takes in other rows; once a group they are
        added up."""

        def zeros(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        self.is_divided = is_divided
        self.steps_in_group = 0
        self.groups = 0
        self.group = zeros(num_classes + 2)
        """(K + 2,) of the group's rows so far: sum of the probabilities, sum of the entropies,
        number."""
        self.totals = zeros(2)
        """Entropies and number of the rows in all groups before."""
        self.mean = zeros(num_classes)
        """(K,) running mean of u over the groups."""
        self.squares = zeros(num_classes)
        """(K,) running sum of squared deviations from the mean (Welford)."""

    def update(self, *probabilities: torch.Tensor) -> bool:
        """Take in one step's probabilities, a (rows, K) tensor for each view.

        True if it closed a group.
        """
        for rows in probabilities:
            rows = rows.double()
            self.group[:-2].add_(rows.sum(dim=0))
            self.group[-2].add_(torch.special.entr(rows).sum())  # entr(0) = 0
            self.group[-1].add_(len(rows))
        self.steps_in_group += 1
        if self.steps_in_group < GROUP_STEPS:
            return False
        self._close_group()
        return True

    def _whole_group(self) -> torch.Tensor:
        """`group` over all processes."""
        return distributed.summed(self.group) if self.is_divided else self.group

    def _close_group(self) -> None:
        group = self._whole_group()
        self.groups += 1
        self.totals += group[-2:]
        draw = group[:-2] / group[-1]
        deviation = draw - self.mean
        self.mean += deviation / self.groups
        self.squares += deviation * (draw - self.mean)
        self.group.zero_()
        self.steps_in_group = 0

    def value(self) -> tuple[float, float]:
        """(T. stddev, mean entropy of a row in nats).

        NaN before the second group or the first row.
        """
        stddev = (self.squares / max(self.groups - 1, 0)).sqrt().mean()  # 0 / 0 with one group: NaN
        entropy, rows = self.totals + (self._whole_group()[-2:] if self.steps_in_group else 0)
        value, mean_entropy = torch.stack([stddev, entropy / rows]).tolist()
        return value, mean_entropy

    def state_dict(self) -> dict[str, Any]:
        """The same in every process."""
        state = super().state_dict() | {"group": self._whole_group().clone()}
        del state["is_divided"]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state | {"is_divided": self.is_divided})
        if self.is_divided and not distributed.is_first():
            self.group.zero_()


class CovarianceMeans(RunningSums):
    """`--utils.check_ce_var_v2`: how far the samples' probability vectors vary together.

    Of one step's (rows, K) matrix of probabilities: the covariance and correlation matrices between
    samples (rows x rows) and between classes (K x K); of each, the mean of the entries and of their
    absolute values. Reported as running means over the steps. (The classes' covariances sum to 0,
    since rows sum to 1.) What does not vary has no correlation: it counts as 0. A step of one row
    says nothing and is left out.
    """

    NAMES = ("Cov1_mean", "Cov1_abs_mean", "Cov2_mean", "Cov2_abs_mean",
             "Corr1_mean", "Corr1_abs_mean", "Corr2_mean", "Corr2_abs_mean")  # fmt: skip

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.sums = torch.zeros(len(self.NAMES), dtype=torch.float64, device=device)
        self.steps = 0

    def update(self, *probabilities: torch.Tensor) -> None:
        """Take in one step's probabilities, a (rows, K) tensor for each view."""
        rows = torch.cat(probabilities).double()
        if len(rows) < 2:
            return
        covariances = (covariance_of(rows), covariance_of(rows.T))
        matrices = (*covariances, *map(correlation_of, covariances))
        self.sums += torch.stack([mean for m in matrices for mean in (m.mean(), m.abs().mean())])
        self.steps += 1

    def value(self) -> dict[str, float]:
        return dict(zip(self.NAMES, (self.sums / max(self.steps, 1)).tolist()))


def covariance_of(variables: torch.Tensor) -> torch.Tensor:
    """(n, observations) -> (n, n), unbiased. As `torch.cov`, which makes a GPU's host wait."""
    centred = variables - variables.mean(dim=1, keepdim=True)
    return centred @ centred.T / (variables.shape[1] - 1)


def correlation_of(covariance: torch.Tensor) -> torch.Tensor:
    """(n, n) -> (n, n); 0 where a variance is 0."""
    deviations = covariance.diagonal().sqrt()
    return (covariance / deviations / deviations[:, None]).clamp(-1, 1).nan_to_num(0)


class CrossEntropyCovariance(RunningSums):
    """`--utils.check_ce_var_v3`: the covariance of the samples' teacher-student cross-entropies.

    A vector holds `width` consecutive values q = -sum_k p_teacher log p_student (T = 1). Over
    `vectors` of them, each position scaled by its largest value, the entries below the diagonal of
    the (width x width) covariance matrix are summed and divided by width^2. The approximation takes
    the teacher in place of the student. The original cut vectors at batch borders, so that their
    lengths differed; here all have `width`.
    """

    def __init__(
        self, width: int = 6400, vectors: int = 100, device: torch.device | str = "cpu"
    ) -> None:
        self.width, self.vectors = width, vectors
        self.values = torch.zeros(2, width * vectors, dtype=torch.float64, device=device)
        self.count = 0

    @property
    def full(self) -> bool:
        """Whether all vectors are there; further values are not taken."""
        return self.count == self.values.shape[1]

    def update(self, teacher_logits: torch.Tensor, student_logits: torch.Tensor) -> None:
        """One view's logits, both (rows, K), in the order the values are to have."""
        probability = teacher_logits.double().softmax(dim=1)
        exact = -(probability * student_logits.double().log_softmax(dim=1)).sum(dim=1)
        approximate = -(probability * teacher_logits.double().log_softmax(dim=1)).sum(dim=1)
        rows = torch.stack([exact, approximate])[:, : self.values.shape[1] - self.count]
        self.values[:, self.count : self.count + rows.shape[1]].copy_(rows)
        self.count += rows.shape[1]

    def value(self) -> tuple[float, float]:
        """(covariance, its approximation) over the whole vectors so far; NaN with fewer than
        two."""
        whole = self.count // self.width
        exact, approximate = self.values[:, : whole * self.width].view(2, whole, self.width)
        return sum_below_diagonal(exact), sum_below_diagonal(approximate)


def sum_below_diagonal(vectors: torch.Tensor) -> float:
    """Sum below the diagonal of the columns' covariance matrix over n^2: (draws, n) -> scalar.

    Uses var(sum of columns) = sum of variances + twice that sum, so the n x n matrix is never made.
    """
    if len(vectors) < 2:
        return float("nan")
    scaled = vectors / vectors.max(dim=0).values
    width = vectors.shape[1]
    return float((scaled.sum(dim=1).var() - scaled.var(dim=0).sum()) / (2 * width**2))
