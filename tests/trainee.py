"""Runs ``mldg train`` on test signals, as a process that tests can kill.

    python -m tests.trainee [--emulate N] train --config tests/tiny.py:mldg --workdir …

The arguments after ``--emulate N`` are those of ``mldg``.
"""

import os
import sys


def main() -> int:
    """Replaces the corpus and runs the command line."""
    arguments = sys.argv[1:]
    if arguments[0] == "--emulate":
        flag = f"--xla_force_host_platform_device_count={arguments[1]}"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}"
        arguments = arguments[2:]
    sys.argv = ["mldg", *arguments]

    from mldg_jax import cli
    from mldg_jax.data import corpus
    from tests import signals

    corpus.find_corpus = lambda *_: "nowhere"
    corpus.corpus_sha256 = lambda _: ""
    corpus.split_names = lambda _: ["train", "dev"]
    corpus.load_split = lambda *_: signals.corpus()
    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
