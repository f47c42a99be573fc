"""Schemes to rank: a --mix_mode chain each, with the network that its pick asks, if it picks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from augment import Augmentation, Pick, mix_modes, pick_criteria, spell_chain
from augment.chain import Stage, parse
from dataset import DatasetSpec
from helper.cli.options import parse_student
from helper.errors import UserError
from helper.setup.views import make_augmentation, make_pick
from helper.step.guard import PAPER_SCHEMES

*PUBLISHED, BY_STUDENT = PAPER_SCHEMES
"""Those of the paper that need no student, and the ninth."""
BEYOND = (
    "randaugment", "trivialaugment", "resizedcrop", "patches", "noise", "noise:sigma=1",
    "invert", "grayscale", "channels", "mean", "crop+flip+cutmix", "autoaugment+cutmix",
    "cutmix_pick:criterion=teacher_entropy,n_run=4",
)  # fmt: skip
"""Strengths, chains and stages that the paper does not have, and a control, noise, which says next
to nothing."""


@dataclass(frozen=True)
class Scheme:
    """name: the chain in its canonical spelling.

    pool: the chain that makes the views, without what picks from them.
    """

    name: str
    pool: str
    augmentation: Augmentation
    pick: Pick | None


def canonical(text: str) -> str:
    """The spelling that names the scheme everywhere.

    Also takes the tables' "cutmix_pick_teacher_entropy".
    """
    name, joint, criterion = text.partition("_pick_")
    if joint and criterion in pick_criteria:
        text = f"{name}_pick:criterion={criterion}"
    return text if text in mix_modes else spell_chain(parse(text))


def make_scheme(text: str, words: Sequence[str], spec: DatasetSpec, *, has_student: bool) -> Scheme:
    """`words`: the rest of the command line that would train under it.

    UserError if it is no scheme of this data set.
    """
    name = canonical(text)
    *before, last = parse(name)
    if last.picks:
        criterion = str(last.values.get("criterion", last.kind.keys()["criterion"].default))
        if pick_criteria[criterion].needs_student and not has_student:
            raise UserError(f"{name} picks by a student: give --path_s FILE")
        values = {key: v for key, v in last.values.items() if key not in ("criterion", "n_pick")}
        last = Stage(last.name, values)
    options = parse_student([*words, f"--mix_mode={name}"])
    augmentation, pick = make_augmentation(options, spec), make_pick(options)
    assert augmentation is not None  # --mix_mode is given
    return Scheme(name, spell_chain([*before, last]), augmentation, pick)


def make_schemes(
    texts: Iterable[str],
    words: Sequence[str],
    spec: DatasetSpec,
    *,
    has_student: bool,
    skips: bool = False,
) -> list[Scheme]:
    """identity is always there: it costs nothing, and the others are compared with it.

    skips: leave out what does not suit the data set. UserError if a scheme is named twice.
    """
    schemes: dict[str, Scheme] = {}
    for text in ("identity", *(text for text in texts if text != "identity")):
        try:
            scheme = make_scheme(text, words, spec, has_student=has_student)
        except UserError:
            if skips:
                continue
            raise
        if scheme.name in schemes:
            raise UserError(f"scheme {scheme.name!r} is named twice")
        schemes[scheme.name] = scheme
    return list(schemes.values())
