"""One job: open or resume a run folder, carry a task out, close it.

Both entry scripts consist of this.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from helper import speed
from helper.cli import from_log
from helper.cli.parser import Options
from helper.errors import UserError, memory_advice, one_line_errors
from helper.loop.state import RunState
from helper.processes import distributed
from helper.processes.interruption import listening
from helper.run.folder import RunFolder
from helper.run.provenance import provenance
from helper.run.log_lines import DONE
from helper.run.resume import claim_same, open_run, resume
from helper.setup import plan, without_effect
from helper.setup.machine import select_device
from helper.setup.scene import Scene, open_scene


class Task(Protocol):
    """A piece of work that a job carries out."""

    has_teacher: bool
    """Whether a teacher's file is read."""
    resume_flag: str
    """The flag that names a checkpoint to go on from."""

    @property
    def state(self) -> RunState:
        """How far the task is."""
        ...

    def __init__(self, scene: Scene) -> None:
        """UserError where something is amiss."""

    @staticmethod
    def product(options: Options) -> Path | None:
        """A file outside the run folder that the task writes.

        UserError if it could not be written.
        """
        ...

    def plan(self) -> list[str]:
        """The plan in words, for log.txt and --dry_run. UserError if it cannot be carried out."""
        ...

    def prepare(self) -> list[str]:
        """Make the networks ready for the loop. Returns lines for log.txt."""
        ...

    def go(self, run: RunFolder) -> None:
        """From where `state` stands to the end."""


@contextlib.contextmanager
def script(program: str) -> Iterator[None]:
    """A script's whole life: errors in one line, signals answered, other processes told of the
    end."""
    with one_line_errors(program), listening(), distributed.session():
        speed.start()
        yield


def again(options: Options, program: str, found: dict[str, Any]) -> list[str]:
    """With --from_log, what differs from the logged run."""
    if not options.from_log:
        return []
    notes = options.expanded.notes
    return from_log.differences(options.from_log, program, notes, now=vars(options), found=found)


def origins(options: Options, scene: Scene) -> dict[str, Any]:
    """The plugins' checksums and the teacher's recorded accuracy, for the run folder."""
    facts: dict[str, Any] = {"plugins": dict(zip(options.plugin, options.plugin_sha256))}
    if scene.teacher_or_none is not None:
        facts["teacher_accuracy"] = scene.teacher_or_none.accuracy
    return facts


def carry_out(program: str, options: Options, task_type: type[Task], *, defaults: Options) -> None:
    """Everything is built and checked before anything is written. defaults: of a command without
    any flag."""
    with memory_advice(options.batch_size):
        device = select_device(options.device, options.precision)
        distributed.start(device)
        product = task_type.product(options)
        claim = claim_same(options, program, vars(defaults), product=product)  # held to the end
        if claim.is_done:
            return
        try:
            scene = open_scene(options, device, has_teacher=task_type.has_teacher)
        except UserError:
            for line in again(options, program, {}):
                print(line, flush=True)
            raise
        task, found = task_type(scene), scene.identity()
        resumed = resume(
            options,
            task.state,
            program,
            task.resume_flag,
            steps_per_epoch=len(scene.splits.train),
            **found,
        )
        lines = [
            *again(options, program, found),
            *(resumed.warnings if resumed else ()),
            plan.describe_machine(scene.device, options, is_resumed=resumed is not None),
            *speed.warn_if_slow(scene.device, amp=options.amp),
            *plan.describe_data(scene.data, scene.splits),
            *scene.notes,
            *without_effect.describe(options, defaults, scene.device),
            *task.plan(),
        ]
        if options.dry_run:
            print("\n".join(["dry run: everything checks out, nothing is written", *lines]))
            return
        lines += task.prepare()
        run = open_run(options, resumed, program, **found)
        facts = provenance(scene.device) | found | origins(options, scene)
        for line in (*lines, run.note_start(facts)):
            run.log(line)
        if resumed is None:
            run.save(task.state.state_dict())  # from here on it can be resumed
        task.go(run)
        run.log(f"{DONE}{run.path}")
        run.close()
