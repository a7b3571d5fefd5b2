"""The log of a training run: `losses.jsonl`, TensorBoard's event files, and a progress bar.

In: loss terms as NDArrays. Out: lines of {epoch, step, learning_rate, images_per_second, <loss>: mean since the last
line}. The device is waited for only when a line is due; then every loss since the last line is checked.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

from tqdm import tqdm

from icd.compat import mx
from icd.engine.world import ALONE, Agreed
from icd.files import write_atomic

SECONDS_BETWEEN_LINES = 30.0  # where the output is no terminal


class NonFiniteLoss(Agreed, ArithmeticError):
    """A loss is not a finite number."""


class TrainingLog:
    """Collects the losses of the steps.

    Parameters
    ----------
    folder : str or os.PathLike
        `losses.jsonl` and `tensorboard/` are made or continued there.
    frequency : int
        Steps from line to line.
    total_steps : int
        Of the whole run, for the time left.
    done_steps : int
        Steps before this start; lines beyond them, of steps that are taken again, are dropped.
    world : icd.engine.world.World, optional
        Every process adds its share of the losses; the one that leads writes.
    """

    def __init__(self, folder, frequency: int, total_steps: int, done_steps: int = 0, world=None):
        self._world = world or ALONE
        self._file = self._board = None
        if self._world.leads:
            self._open(Path(folder), done_steps)
        self._frequency, self._pending = frequency, []
        self._bar = tqdm(
            total=total_steps, initial=done_steps, unit="step", desc="train", dynamic_ncols=True,
            disable=None if self._world.leads else True,
        )  # fmt: skip
        self._total, self._said = total_steps, float("-inf")
        self._since = time.monotonic()

    def _open(self, folder: Path, done_steps: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        _drop_later_lines(folder / "losses.jsonl", done_steps)
        self._file = open(folder / "losses.jsonl", "a", encoding="utf-8")  # noqa: SIM115  (closed by close)
        self._board = _tensorboard(folder / "tensorboard")

    def step(
        self, epoch: int, done: int, per_epoch: int, learning_rate: float, losses: dict, ids: list
    ) -> None:
        """Add the losses of the step that ended batch `done` (from 1) of an epoch, over the images of all processes `ids`."""
        self._pending.append((epoch, epoch * per_epoch + done, learning_rate, losses, ids))
        self._bar.update()
        if len(self._pending) >= self._frequency:
            self.flush()

    def flush(self) -> None:
        """Wait for the losses since the last line, check and write them.

        Raises
        ------
        NonFiniteLoss
            Naming the loss, the step and the ids of its batch, in all processes alike.
        """
        if not self._pending:
            return
        names = list(self._pending[0][3])
        stacked = [
            mx.nd.concat(*(losses[name].reshape(1) for name in names), dim=0)
            for *_, losses, _ in self._pending
        ]
        values = self._world.sum([mx.nd.stack(*stacked)]).asnumpy().tolist()
        for (epoch, step, _, _, ids), row in zip(self._pending, values):
            for name, value in zip(names, row):
                if not math.isfinite(value):
                    raise NonFiniteLoss(
                        f"loss {name} is {value} in step {step} (epoch {epoch}); images of its batch: {', '.join(ids)}. "
                        "Look at these images, or lower the learning rate; the last good checkpoint is kept."
                    )
        if self._world.leads:
            self._write(names, values)
        self._pending, self._since = [], time.monotonic()

    def _write(self, names: list, values: list) -> None:
        epoch, step, learning_rate, _, _ = self._pending[-1]
        images = sum(len(ids) for *_, ids in self._pending)
        now = time.monotonic()
        means = {name: sum(row[i] for row in values) / len(values) for i, name in enumerate(names)}
        line = {
            "epoch": epoch,
            "step": step,
            "learning_rate": learning_rate,
            "images_per_second": round(images / max(now - self._since, 1e-9), 3),
            **{name: round(value, 6) for name, value in means.items()},
        }
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name in line.keys() - {"epoch", "step"}:
            self._board.add_scalar(name, line[name], step)
        shown = {"epoch": epoch, **{name: f"{value:.3g}" for name, value in means.items()}}
        self._bar.set_postfix(shown)
        self._say(step, shown, now)

    def _say(self, step: int, shown: dict, now: float) -> None:
        """Where there is no terminal for a bar: a line now and then."""
        if self._bar.disable and (now - self._said > SECONDS_BETWEEN_LINES or step == self._total):
            text = ", ".join(f"{name}={value}" for name, value in shown.items())
            print(f"train: {step}/{self._total} {text}", file=sys.stderr, flush=True)
            self._said = now

    def close(self) -> None:
        """End the bar and close the files."""
        self._bar.close()
        if self._world.leads:
            self._file.close()
            self._board.close()


def _drop_later_lines(path, done_steps: int) -> None:
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            if json.loads(line)["step"] <= done_steps:
                kept.append(line)
        except ValueError:  # the line that was being written when the run was killed
            break
    write_atomic(path, "".join(kept).encode())


def _tensorboard(folder):
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(folder))
