"""Says when a training stands still, and why: on the terminal, and in standstill.json for the report."""
from collections.abc import Callable

import caffe
import numpy as np

from process.files import write_json
from training.causes import ADVICE, Case, as_json, likely_causes
from training.plan import Plan
from training.problem import Problem
from training.symptoms import Symptoms, symptoms_of
from training.testing import TestResult


class Standstill:
    """Looks after each test. fresh: layers that the initial weights did not fill."""

    def __init__(self, plan: Plan, problem: Problem, net: caffe.Net, fresh: tuple[str, ...],
                 say: Callable[[str], None]) -> None:
        self.plan, self.problem, self.net, self.fresh, self.say = plan, problem, net, fresh, say
        classifier = net.params.get(problem.classifier)
        self.start: np.ndarray | None = classifier[0].data.copy() if classifier else None
        self.last: Symptoms | None = None

    def look(self, iteration: int, training_loss: float, result: TestResult) -> None:
        """After a test: tells what stands still and the likely causes, or takes back what an earlier look told."""
        found = symptoms_of(iteration, training_loss, self.problem.train_counts,
                            self.problem.train_images, result)
        if found.standing:
            self._tell(found)
        elif self.last and self.last.standing:
            self.say(f"iteration {iteration:6d}  training is on its way now")
        if not found.standing:
            self.plan.run.standstill.unlink(missing_ok=True)
        self.last = found

    def _tell(self, found: Symptoms) -> None:
        case = Case(self.plan, self.problem, self.net, self.start, self.fresh)
        causes = likely_causes(case)
        words = found.sentences(case.names)
        again = self.last is not None and self.last.standing
        self.say(f"iteration {found.iteration:6d}  training stands still: {'; '.join(words)}")
        advice = [cause.words for cause in causes] or list(ADVICE)
        if not again:
            self.say("likely causes, in order:" if causes else "no cause was found. Look, in this order:")
            for number, line in enumerate(advice, 1):
                self.say(f"  {number}. {line}")
        write_json(self.plan.run.standstill, {"symptoms": found.as_json(), "words": words, "causes": as_json(causes),
                                              "advice": advice})
