"""Makes a run's scores log-likelihood ratios, on utterances training has not seen."""

from pathlib import Path

import numpy as np

from mldg_jax import calibration, cards, scoring
from mldg_jax.data.corpus import BONAFIDE, SPOOF, Corpus, spread


def calibrate(run: str | Path, corpus: Corpus, *, utterances: int) -> Path:
    """Scores part of a split, fits the calibration and keeps it in the run's folder.

    From then on ``mldg score`` and ``load(run)`` give calibrated scores.

    Args:
      run: a finished run.
      corpus: a dev split.
      utterances: at most so many of each class, the same each time; 0 for all.

    Returns:
      The file.

    Raises:
      UserError: no finished run, or scores that cannot be calibrated.
    """
    path = Path(run) / calibration.FILE
    raw = scoring.load(run)._replace(calibration=None)
    rows = np.concatenate(
        [spread(corpus.label == c, utterances) for c in (BONAFIDE, SPOOF)]
    )
    scores = scoring.score_waveforms(raw, (corpus.waveform(i) for i in rows))
    calibration.save(path, calibration.fit(scores, corpus.label[rows]))
    cards.write(run)
    return path
