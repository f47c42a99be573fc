"""The operations that a GPU launches in a step. A ceiling may be lowered, never raised: at batch 64
a GPU is bound by them."""

import pytest
from fake_gpu import seen
from gpu_loops import CLASSES, PASS, TWO_VIEWS, open_loop, write_network


DATA = (
    f"--dataset synthetic --num_classes {CLASSES} --limit_train 80 --limit_test 2 --batch_size "
    "2 --seed 1"
)
JOBS = {
    "train": f"{TWO_VIEWS} --distill kd -r 0.1 -a 0.9",
    "stddev": f"{PASS} --utils.check_ce_var",
}
CEILINGS = {  # (teacher, student), job -> launches a step
    (("vgg13", "vgg8"), "train"): 193,
    (("wrn_40_2", "wrn_16_2"), "train"): 425,
    (("vgg13", "vgg8"), "stddev"): 52,
    (("wrn_40_2", "wrn_16_2"), "stddev"): 142,
}


@pytest.mark.slow
@pytest.mark.parametrize(("pair", "job"), CEILINGS)
def test_launches_a_step(pair, job, gpu, tmp_path):
    teacher, student = pair
    path_t = write_network(tmp_path, teacher, img_size=32)
    words = f"{DATA} {JOBS[job]} --mix_mode cutmix --model_s {student}"
    loop = open_loop(path_t, words, "cuda")
    loop.run(1)  # makes the first batches
    more = 1 if job == "train" else 5  # a group of T. stddev
    counts = []
    for steps in (2, 2 + more):
        seen.launches.clear()
        loop.run(steps)
        counts.append(seen.launches.copy())
    of_steps = counts[1] - counts[0]
    launches = sum(of_steps.values()) / more
    assert launches <= CEILINGS[pair, job], of_steps
