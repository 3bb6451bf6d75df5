"""The scripts that complete ``mldg`` in a shell."""

import builtins
import shutil
import subprocess

import pytest

from mldg_jax import cli

ASK = """
source ./mldg.bash
COMP_WORDS=({words}) COMP_CWORD={last}
_shtab_mldg >/dev/null 2>&1
printf "%s\\n" "${{COMPREPLY[@]}}"
"""


def completions(folder, *words):
    """Asks bash what comes after some words, the last of which has begun."""
    quoted = " ".join(f"'{x}'" for x in words)
    program = ASK.format(words=quoted, last=len(words) - 1)
    command = ["bash", "--norc", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import contextlib
    import io

    path = tmp_path_factory.mktemp("completion")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.main(["completion", "bash"]) == 0
    (path / "mldg.bash").write_text(out.getvalue())
    (path / "runs").mkdir()
    return path


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes_commands_options_and_choices(folder):
    commands = completions(folder, "mldg", "")
    assert {"demo", "train", "score", "corpus", "completion"} <= commands
    assert completions(folder, "mldg", "tr") == {"train"}
    assert completions(folder, "mldg", "corpus", "b") == {"build"}
    options = completions(folder, "mldg", "train", "--")
    assert {"--config", "--workdir", "--set", "--quiet"} <= options
    assert completions(folder, "mldg", "demo", "--size", "") == {"small", "full"}


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_scripts_of_other_shells(shell, capsys):
    assert cli.main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert ("workdir" in text and "_files" in text) or shell == "tcsh"
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=text, text=True, check=True)


def test_without_shtab_it_says_what_to_install(monkeypatch, capsys):
    real = builtins.__import__

    def refuse(name, *rest, **more):
        if name == "shtab":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert cli.main(["completion", "bash"]) == 2
    assert "mldg_jax[completion]" in capsys.readouterr().err
