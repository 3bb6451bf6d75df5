"""What a run is tested on."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mldg_jax.common.config import CorpusSection, ValidationSection
from mldg_jax.common.errors import UserError
from mldg_jax.data.attack_folds import training_rows, with_validation
from mldg_jax.data.corpus import BONAFIDE, NO_ATTACK, Corpus, load_test


class Test(NamedTuple):
    """Utterances to score.

    Attributes:
      name: names the score file, ``scores_<name>.txt``.
      corpus: folder of the prepared corpus.
      split: split of the corpus.
      fold: speaker fold of all splits to score instead, see ``data.corpus.load_test``.
      attacks: attacks to score in addition to bona fide; empty for all.
      held_out: sections of a config; if given, the test is what its runs hold out of
        the training data, see ``training.validation``.
    """

    name: str
    corpus: Path
    split: str
    fold: int | None = None
    attacks: tuple[str, ...] = ()
    held_out: tuple[CorpusSection, ValidationSection] | None = None

    def rows(self) -> Corpus:
        """Opens the utterances.

        Raises:
          UserError: the split or fold does not exist, or lacks one of the attacks.
        """
        if self.held_out is not None:
            return _held_out(self.corpus, *self.held_out)
        rows = load_test(self.corpus, self.split, self.fold)
        if not self.attacks:
            return rows
        missing = sorted(set(self.attacks) - set(rows.attack))
        if missing:
            known = ", ".join(sorted(set(rows.attack) - {NO_ATTACK}))
            raise UserError(
                f"the test {self.name} of {self.corpus} has no attack {missing[0]!r}; "
                f"choose from {known}"
            )
        selected = (rows.label == BONAFIDE) | np.isin(rows.attack, self.attacks)
        return rows.take(selected)


def _held_out(
    folder: Path, corpus: CorpusSection, section: ValidationSection
) -> Corpus:
    from mldg_jax.training import validation

    training = training_rows(folder, corpus)
    _, rows = with_validation(folder, section, training)
    chosen = validation.choose(section, training, rows, for_averages=True)
    assert chosen is not None
    return chosen
