"""The choice among views."""

import numpy as np
import pytest
import torch
from random_images import pick_logits

from augment import Pick, PoolLogits, pick_criteria
from augment.draws import box_mask
from augment.pick import entropy

# --- picking -------------------------------------------------------------------------------------


def test_entropy_of_a_one_hot_output_is_zero_not_nan():
    logits = torch.tensor([[0.0, 200.0, -200.0], [0.0, 0.0, 0.0]])
    values = entropy(logits)
    assert values.tolist() == pytest.approx([0.0, np.log(3)], abs=1e-6)


def test_pick_keeps_the_whole_pool_if_it_is_small():
    logits = pick_logits()
    assert len(Pick(pick_criteria["teacher_entropy"], 64, 4.0)(logits)) == 16


@pytest.mark.parametrize("name", pick_criteria)
def test_criteria_say_which_networks_they_read(name):
    criterion, logits = pick_criteria[name], pick_logits()
    reduced = PoolLogits(
        teacher=logits.teacher if criterion.needs_teacher else None,
        student=logits.student if criterion.needs_student else None,
        teacher_clean=logits.teacher_clean,
    )
    assert torch.equal(criterion.score(reduced, 4.0), criterion.score(logits, 4.0))
    for network, needed in (
        ("teacher", criterion.needs_teacher),
        ("student", criterion.needs_student),
    ):
        if needed:
            with pytest.raises((AssertionError, AttributeError, TypeError)):
                criterion.score(logits._replace(**{network: None}), 4.0)


def test_box_mask_marks_half_open_boxes():
    mask = box_mask(torch.tensor([[1, 2, 4, 3], [0, 0, 0, 5]]), 5, 6)
    wanted = torch.zeros(2, 1, 5, 6, dtype=torch.bool)
    wanted[0, 0, 2, 1:4] = True
    assert torch.equal(mask, wanted)
