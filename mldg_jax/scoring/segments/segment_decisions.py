"""What ``mldg score --segments`` writes for the recordings that it scores."""

import math
from pathlib import Path
from typing import NamedTuple

from mldg_jax.common.errors import UserError
from mldg_jax.data.segment_files import matching
from mldg_jax.models.detector import locates
from mldg_jax.scoring.scorer import Scorer
from mldg_jax.scoring.segments import segment_output
from mldg_jax.scoring.segments.segment_evaluation import Keys, read_keys
from mldg_jax.scoring.windows import Windows


class SegmentFiles(NamedTuple):
    """Where to write which parts of recordings are spoofed.

    Attributes:
      folder: for the files of ``segment_output``.
      threshold: a frame with a score below it is spoof.
      keys: the parts that are spoofed in truth, by utterance; None if not known.
      figures: whether to draw a picture of each, which takes longer than scoring.
    """

    folder: Path
    threshold: float = segment_output.THRESHOLD
    keys: Keys | None = None
    figures: bool = True

    def check(self, scorer: Scorer, run: str | Path) -> None:
        """Checks that a run scores frames.

        Args:
          scorer: the loaded run.
          run: its folder, for the message.

        Raises:
          UserError: its head does not.
        """
        if not locates(scorer.detector):
            raise UserError(
                f"{run} has the head {scorer.config.model.head.get('kind')}, which "
                "scores whole windows: --segments takes a run that was trained with "
                "--set model.head.kind=frame; --timeline shows the scores of windows"
            )

    def write(self, name: str, windows: Windows, scorer: Scorer) -> None:
        """Writes the files of a recording.

        Args:
          name: its path.
          windows: its scores.
          scorer: that computed them.
        """
        assert windows.frames is not None  # see ``check``
        path, truth = Path(name), None
        if self.keys is not None:
            key = matching(self.keys, (name, path.name, path.stem))
            truth = None if key is None else self.keys[key]
        segment_output.write(
            self.folder,
            name,
            windows.frames,
            float(windows.end[-1]),
            threshold=self.threshold,
            is_calibrated=scorer.calibration is not None,
            truth=truth,
            figure=self.figures,
        )


def prepare(
    folder: str | Path,
    threshold: float | None = None,
    keys: str | Path | None = None,
    *,
    figures: bool = True,
) -> SegmentFiles:
    """Prepares the files of a command.

    Args:
      folder: to write to.
      threshold: see ``SegmentFiles``; None for the default.
      keys: see ``segment_evaluation.read_keys``; None for no truth.
      figures: see ``SegmentFiles``.

    Returns:
      Where to write.

    Raises:
      UserError: the threshold is not finite, or the keys cannot be read.
    """
    if threshold is None:
        threshold = segment_output.THRESHOLD
    if not math.isfinite(threshold):
        raise UserError(f"--threshold is {threshold}; it must be a finite number")
    truth = None if keys is None else read_keys(keys)
    return SegmentFiles(Path(folder), threshold, truth, figures)
