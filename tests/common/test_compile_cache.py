"""The cache of compiled programs: where it is, and that no content of it can hurt."""

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import soundfile

from mldg_jax.common import compile_cache
from tests import signals

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np, sys
from mldg_jax.common import compile_cache
from tests import signals
from mldg_jax.common.console import show_log
show_log()
def f(x):
    for _ in range(3):
        x = jnp.tanh(x @ x)
    return x
with compile_cache.used() as folder:
    print(folder)
    print(np.asarray(jax.jit(f)(jnp.eye(3) / 2)).tolist())
print(jax.config.jax_compilation_cache_dir)
"""


def run(home: Path, **more: str):
    """Runs ``PROGRAM`` with a cache below ``home``: its lines, and standard error."""
    environment = {k: v for k, v in os.environ.items() if k != compile_cache.VARIABLE}
    environment |= {"XDG_CACHE_HOME": str(home), "JAX_PLATFORMS": "cpu", **more}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines(), done.stderr


def damage(path: Path, how: str) -> None:
    """Truncates a file, or replaces its content."""
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "foreign": b"x" * 999}[how])


def test_programs_are_kept_and_a_damaged_cache_costs_one_line(tmp_path):
    (folder, values, after), errors = run(tmp_path)
    assert Path(folder).parent == tmp_path / "mldg_jax" / "xla" and after == "None"
    assert Path(folder).stat().st_mode & 0o077 == 0  # what it holds is executed
    entries = sorted(Path(folder).glob("*-cache"))
    assert entries and not errors
    assert run(tmp_path)[0] == [folder, values, after]
    for how in ("cut", "foreign"):
        for path in Path(folder).glob("*-cache"):
            damage(path, how)
        (Path(folder) / "notes.txt").write_text("mine")
        lines, errors = run(tmp_path)
        assert lines == [folder, values, after]
        assert errors.count("\n") == 1 and "damaged" in errors, errors
        assert (Path(folder) / "notes.txt").read_text() == "mine"
        assert run(tmp_path) == ([folder, values, after], "")  # and it is mended


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path):
    (folder, values, _), _ = run(tmp_path)
    Path(folder).chmod(0o777)
    lines, errors = run(tmp_path)
    assert lines == ["None", values, "None"]
    assert re.fullmatch(r"mldg: compiled programs are not kept: .*executed\n", errors)
    file = tmp_path / "file"
    file.write_text("")
    lines, errors = run(file)
    assert lines[0] == "None" and "not kept" in errors and errors.count("\n") == 1


def test_the_users_own_folder_comes_first_and_is_not_emptied(tmp_path):
    own = tmp_path / "own"
    variables = {
        compile_cache.VARIABLE: str(own),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    (folder, values, _), _ = run(tmp_path, **variables)
    assert folder == str(own) and not (tmp_path / "mldg_jax").exists()
    for path in own.glob("*-cache"):
        damage(path, "cut")
    before = sorted(own.glob("*-cache"))
    lines, errors = run(tmp_path, **variables)
    assert lines[1] == values and errors.count("\n") == 1 and "delete" in errors
    assert set(before) <= set(own.glob("*-cache"))


def test_machines_with_other_cpus_have_other_folders(monkeypatch):
    here = compile_cache.user_folder()
    monkeypatch.setattr(compile_cache.platform, "machine", lambda: "other")
    assert compile_cache.user_folder() != here


def test_other_warnings_still_reach_their_reader(tmp_path):
    with pytest.warns(UserWarning, match="something else"):  # noqa: SIM117
        with warnings.catch_warnings():
            compile_cache.report_damage(tmp_path)
            warnings.warn("something else", stacklevel=1)


COUNTED = """
import sys
from jax import monitoring
from mldg_jax import cli
missed = []
def note(name, **_):
    if name == "/jax/compilation_cache/cache_misses":
        missed.append(name)
monitoring.register_event_listener(note)
status = cli.main(sys.argv[1:])
print(status, len(missed))
"""


def test_a_second_start_of_scoring_compiles_nothing(smoke_run, tmp_path):
    recording = tmp_path / "speech.wav"
    soundfile.write(recording, signals.speech_like(16_000)[0], 16_000)
    environment = {k: v for k, v in os.environ.items() if k != compile_cache.VARIABLE}
    environment |= {"XDG_CACHE_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", COUNTED, "score", str(smoke_run), str(recording)]
    lines = [
        subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        for _ in range(2)
    ]
    (score, first), (again, second) = lines
    assert score == again
    assert first.startswith("0 ") and int(first[2:]) > 0
    assert second == "0 0"
