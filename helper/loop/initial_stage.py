"""The stage before the distillation proper, in which some methods prepare the student or
themselves."""

from collections.abc import Mapping
from functools import reduce
from typing import Any

import torch
from torch import nn

from dataset.streamed import AnyBatches
from distiller_zoo import FeatureDistiller, Outputs
from helper.loop.state import TrainingState, saved_if_stopped
from helper.loop.training import progress_bar
from helper.processes import distributed
from helper.run.folder import RunFolder
from helper.setup.optimisation import InitialSettings
from helper.step.passes import outputs_of


class InitialStage:
    """Trains what each method names with the method's `initial_loss`, by SGD at a constant
    rate, on plain batches.
    """

    def __init__(
        self,
        methods: Mapping[str, FeatureDistiller],
        teacher: nn.Module,
        student: nn.Module,
        *,
        settings: InitialSettings,
    ) -> None:
        self.methods, self.teacher, self.student = methods, teacher, student
        self.amp, self.epochs, self.done = settings.amp, settings.epochs, 0
        self.trained, rates = [], {}
        for method in methods.values():
            modules = method.initial_modules(student)
            self.trained += modules
            for parameter in nn.ModuleList(
                modules
            ).parameters():  # two methods may train the same ones
                rate = min(settings.learning_rate, method.initial_learning_rate)
                rates[parameter] = min(rate, rates.get(parameter, rate))
        groups = [
            {"params": [p for p in rates if rates[p] == rate], "lr": rate}
            for rate in sorted(set(rates.values()))
        ]
        self.optimizer = torch.optim.SGD(
            groups, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
        in_order = [parameter for group in groups for parameter in group["params"]]
        distributed.average_gradients(self.optimizer, in_order)
        self.trains_student = any(parameter in rates for parameter in student.parameters())
        self.preacts = sorted(
            {kind for method in methods.values() for kind in (method.preact, method.teacher_preact)}
        )

    def state_dict(self) -> dict[str, Any]:
        is_over = self.done == self.epochs
        return {"done": self.done, "optimizer": None if is_over else self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.done = state["done"]
        if state["optimizer"] is not None:
            self.optimizer.load_state_dict(state["optimizer"])

    def run(self, state: TrainingState, train: AnyBatches, run: RunFolder) -> None:
        """Train for the epochs that are left; log and save after each."""
        for epoch in range(self.done + 1, self.epochs + 1):
            where = f"epoch {epoch} of the initial stage"
            with saved_if_stopped(state, run, where):
                self._train_epoch(state, train, f"initial stage {epoch}/{self.epochs}")
            means = state.meter.read()[1]
            self.done = epoch
            state.end_pass()
            shown = " ".join(f"loss_{name} {value:.6f}" for name, value in means.items())
            run.log(f"Initial stage: Epoch {epoch}/{self.epochs} {shown}")
            run.record("initial", epoch=epoch, **means)
            run.save(state.state_dict())

    def _train_epoch(self, state: TrainingState, train: AnyBatches, title: str) -> None:
        self.student.eval()
        for module in self.trained:
            module.train()
        for _, (images, *_) in progress_bar(state, train, title):
            with torch.no_grad():
                teacher_logits, teacher = outputs_of(
                    self.teacher, images, self.preacts, amp=self.amp
                )
            with torch.set_grad_enabled(self.trains_student):
                student_logits, student = outputs_of(
                    self.student, images, self.preacts, amp=self.amp
                )
            losses = {
                name: method.initial_loss(
                    Outputs(student_logits, student[method.preact]),
                    Outputs(teacher_logits, teacher[method.teacher_preact]),
                )
                for name, method in self.methods.items()
            }
            self.optimizer.zero_grad(set_to_none=True)
            reduce(torch.add, losses.values()).backward()
            self.optimizer.step()
            state.meter.update(losses, len(images))
        self.optimizer.zero_grad(
            set_to_none=True
        )  # what is not trained from here on is to stay as it is
