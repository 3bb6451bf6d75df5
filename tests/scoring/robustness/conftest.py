"""Recordings of six attacks and seven speakers on disk, with their keys."""

import numpy as np
import pytest
import soundfile

from tests import signals

RATE = 16_000


@pytest.fixture(scope="session")
def on_disk(tmp_path_factory):
    """A folder of 48 recordings of 0.8 to 1.4 s, half of them bona fide; keys.csv."""
    folder = tmp_path_factory.mktemp("robustness")
    (folder / "audio").mkdir()
    corpus, rng = signals.corpus(), np.random.default_rng(0)
    lines = ["utterance,label,attack,speaker"]
    for row in (*range(24), *range(70, 94)):
        samples = np.resize(corpus.audio[row], rng.integers(13_000, 22_000))
        name, real = corpus.utterance[row], corpus.label[row]
        soundfile.write(folder / "audio" / f"{name}.wav", samples, RATE)
        label = "bonafide" if real else "spoof"
        lines.append(f"{name},{label},{corpus.attack[row]},{corpus.speaker[row]}")
    (folder / "keys.csv").write_text("\n".join(lines) + "\n")
    return folder
