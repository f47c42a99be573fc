"""The trainings for the evidence: teachers, schemes, seeds, and their order."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

KD = "--distill kd -r 0.1 -a 0.9 -b 0 --lw_mix [1,0,1] --t_output_as_target_for_input_mix".split()
PICK = "--mix_mode cutmix_pick --mix_n_run 2 --cutmix_pick_criterion"


@dataclass(frozen=True)
class Scheme:
    """A second view: its family, its strength within the family (0: none) and its flags."""

    name: str
    family: str
    strength: float = 0
    flags: str = ""

    @property
    def words(self) -> list[str]:
        return (self.flags or f"--mix_mode {self.name}").split()


@dataclass(frozen=True)
class Setup:
    """A data set, a teacher and how long its students train."""

    name: str
    data: str
    img_size: int
    teacher: str
    teacher_epochs: int
    student: str
    epochs: int
    rate_steps: str
    teacher_data: str = ""
    """The teacher's data flags, where they are not the students'."""
    teacher_rate_steps: str = ""
    test: int = 1
    """The number of the test that it belongs to: PREDICTIONS.md, PREDICTIONS_2.md, _3.md. Each has
    views of its own."""

    @property
    def teacher_file(self) -> str:
        return f"{self.teacher}_vanilla/ckpt_epoch_{self.teacher_epochs}.pth"


EMBEDDED = "--dataset synthetic --num_classes 10 --img_size 16 --limit_train 1500 --limit_test 1000"
A = Setup("embedded_wrn_16_1", EMBEDDED, 16, "wrn_16_1", 60, "resnet8", 24, "15,18,21",
          teacher_data=EMBEDDED, teacher_rate_steps="37,45,52")  # fmt: skip
B = dataclasses.replace(A, name="embedded_resnet14", teacher="resnet14")
SHARED = Setup("cifar100_wrn_16_2", "--dataset cifar100 --limit_train 12800", 32, "wrn_16_2", 10,
               "resnet8", 10, "6,7,8")  # fmt: skip
OWN = dataclasses.replace(
    SHARED, name="cifar100_resnet20", teacher="resnet20", teacher_epochs=30,
    teacher_data="--dataset cifar100", teacher_rate_steps="15,22,27",
)  # fmt: skip
TEN = "--dataset folder --img_size 16"
SECOND = Setup("ten_classes_resnet20", f"{TEN} --limit_train 2500", 16, "resnet20", 30, "resnet8",
               12, "7,9,10", teacher_data=TEN, teacher_rate_steps="15,22,27",
               test=2)  # fmt: skip
THIRD = (
    dataclasses.replace(OWN, name="third_resnet20", test=3),
    dataclasses.replace(OWN, name="third_vgg8", teacher="vgg8", student="wrn_16_1", test=3),
)
SETUPS = {setup.name: setup for setup in (A, B, SHARED, OWN, SECOND, *THIRD)}


def schemes(setup: Setup) -> list[Scheme]:
    """All second views of a setup."""
    views = {2: second_views, 3: third_views}
    return views[setup.test]() if setup.test in views else first_views(setup.img_size)


def first_views(img_size: int) -> list[Scheme]:
    """Views for images of this side. PREDICTIONS.md says which half has a family."""
    paper = "identity flip crop+flip cutout autoaugment mixup cutmix".split()
    return [
        *(Scheme(name, "paper") for name in paper),
        Scheme("cutmix_pick:teacher", "paper", flags=f"{PICK} teacher_entropy"),
        Scheme("cutmix_pick:student", "paper", flags=f"{PICK} student_entropy"),
        *(Scheme(f"noise:sigma={sigma}", "noise", sigma) for sigma in (0.1, 0.25, 0.5, 1)),
        *(Scheme(f"patches:grid={grid}", "patches", grid) for grid in (2, 4, 8)),
        *(Scheme(name, "recolourings") for name in ("grayscale", "channels", "invert")),
        *(
            Scheme(f"cutout:size={img_size * quarters // 4}", "cutout", quarters / 4)
            for quarters in (2, 3)  # a quarter is the published cutout
        ),
        *(
            Scheme(f"resizedcrop:scale_min={least}", "resizedcrop", 1 - least)
            for least in (0.5, 0.25, 0.08)
        ),
        *(Scheme(f"mean:k={count}", "mean", count) for count in (2, 4, 8)),
        Scheme("grey", "controls"),
        Scheme("other", "controls"),
    ]


def second_views() -> list[Scheme]:
    """The paper's, families that no guard was chosen on, and four views of the first test again."""
    again = "noise:sigma=0.25 noise:sigma=0.5 patches:grid=4 invert".split()
    new = {
        "blur": "blur:p=1,sigma_min=1,sigma_max=1 blur:p=1,sigma_min=3,sigma_max=3,size=9",
        "gridmask": "gridmask gridmask:p=1,ratio=0.3",
        "erasing": "erasing:p=1 erasing:p=1,scale_min=0.7,scale_max=0.9",
        "jitter": "jitter:p=1",
        "policies": "randaugment randaugment:num_ops=4,magnitude=20 trivialaugment augmix",
        "mixing": "resizemix fmix ricap crop+flip+cutmix",
        "geometry": "rotate rotate:degrees=180 translate:share=0.5",
        "tones": "tv.RandomSolarize:threshold=0.5,p=1 tv.RandomPosterize:bits=1,p=1",
    }
    paper = [s for s in first_views(16) if s.family == "paper" and s.name != "cutmix_pick:student"]
    return [
        *paper,
        *(Scheme(name, family) for family, names in new.items() for name in names.split()),
        *(Scheme(name, "again") for name in again),
    ]


def third_views() -> list[Scheme]:
    """The views of both earlier tests, for images of 32 pixels, and 26 that no test has had."""
    fresh = {
        "strengths": "noise:sigma=0.35 mean:k=3 rotate:degrees=90"
        " erasing:p=1,scale_min=0.3,scale_max=0.5 blur:p=1,sigma_min=2,sigma_max=2,size=9"
        " tv.RandomPosterize:bits=2,p=1 tv.RandomSolarize:threshold=0.25,p=1"
        " tv.RandomSolarize:threshold=0.75,p=1",
        "half": "invert:p=0.5 invert:draw=sample,p=0.5 tv.RandomSolarize:threshold=0.5,p=0.5",
        "pixels": "tv.RandomEqualize:p=1 tv.RandomAutocontrast:p=1"
        " tv.RandomAdjustSharpness:p=1,sharpness_factor=8 tv.RandomVerticalFlip:p=1"
        " tv.RandomPerspective:p=1 tv.ElasticTransform:alpha=50",
        "chains": "invert+cutmix patches:grid=2+cutmix patches:grid=4+cutmix noise:sigma=0.1+cutmix"
        " grayscale+mixup flip+invert invert+patches:grid=2 resizedcrop:scale_min=0.25+cutmix"
        " tv.RandomSolarize:threshold=0.5,p=1+cutmix",
    }  # fmt: skip
    earlier = {scheme.name: scheme for scheme in (*second_views(), *first_views(32))}
    return [
        *(Scheme(name, family) for family, names in fresh.items() for name in names.split()),
        *earlier.values(),
    ]


@dataclass(frozen=True)
class Run:
    """One student."""

    setup: Setup
    scheme: Scheme
    seed: int

    @property
    def folder(self) -> str:
        """Relative to the folder of all runs."""
        scheme = self.scheme.name.replace(":", "_").replace("=", "").replace(",", "_")
        return f"{self.setup.name}/{scheme}/seed{self.seed}"

    @property
    def words(self) -> list[str]:
        """The flags of train_student.py, without the folders of a machine."""
        return [
            "--model_s", self.setup.student, *KD, *self.scheme.words, *self.setup.data.split(),
            "--epochs", str(self.setup.epochs), "--lr_decay_epochs", self.setup.rate_steps,
            "--seed", str(self.seed),
        ]  # fmt: skip


CORE = (
    "identity cutmix cutmix_pick:teacher noise:sigma=0.25 resizedcrop:scale_min=0.08 "
    "patches:grid=4 invert mean:k=2 "
    "noise:sigma=1 cutout:stronger mean:k=4 patches:grid=2 grayscale cutout:strong"
).split()
"""The schemes that come first in a pass: computing time is short, and part of a pass must be of
use."""


TEST_HALF = {"paper", "cutout", "resizedcrop", "mean"}
"""The families of PREDICTIONS.md's test half, with the control `other`."""


def queue() -> Iterator[Run]:
    """All runs, in the order in which the rules of PREDICTIONS.md can be applied the soonest.

    Of teacher B the rules ask for the test half alone, so the other half comes after all seeds.
    """
    choose_half = [s.name for s in schemes(A) if s.family not in TEST_HALF - {"paper"}]
    test_half = [s.name for s in schemes(B) if s.family in TEST_HALF] + ["other"]
    for seed in (1, 2, 3):
        yield from one_pass(A, seed, choose_half)
        yield from one_pass(A, seed)
        yield from one_pass(B, seed, test_half)
    for seed in (4, 5):  # added after three seeds: the third of B's made bad students of all kinds
        yield from one_pass(B, seed, test_half)
    for seed in (1, 2, 3):
        yield from one_pass(SECOND, seed)
    for seed in (1, 2, 3):
        yield from one_pass(THIRD[0], seed)
        yield from one_pass(THIRD[1], seed)
    yield from one_pass(SHARED, 1, CORE)
    yield from one_pass(OWN, 1, CORE)
    for seed in (4, 5):
        yield from one_pass(A, seed)
    for seed in (1, 2, 3):
        yield from one_pass(B, seed)
        yield from one_pass(SHARED, seed)
        yield from one_pass(OWN, seed)


def one_pass(setup: Setup, seed: int, only: Sequence[str] = ()) -> Iterator[Run]:
    """One seed over the schemes, or `only` those. The core comes first."""
    strong, stronger = (f"cutout:size={setup.img_size * part // 4}" for part in (2, 3))
    words = {"cutout:strong": strong, "cutout:stronger": stronger}
    order = {words.get(name, name): place for place, name in enumerate(only or CORE)}
    for scheme in sorted(schemes(setup), key=lambda s: order.get(s.name, len(order))):
        if not only or scheme.name in order:
            yield Run(setup, scheme, seed)
