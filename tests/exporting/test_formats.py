"""What every format of ``mldg export`` refuses."""

import json

import pytest

from mldg_jax.common import run_folder
from mldg_jax.common.errors import UserError
from mldg_jax.exporting.formats import FORMATS, export_run


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("part", ["frontend", "head"])
def test_parts_of_ones_own_cannot_be_exported(own_smoke_run, tmp_path, form, part):
    path = own_smoke_run / run_folder.CONFIG
    config = json.loads(path.read_text())
    config["model"][part]["kind"] = "my_parts:Part"
    path.write_text(json.dumps(config))
    out = tmp_path / "out"
    with pytest.raises(UserError) as caught:
        export_run(own_smoke_run, out, form)
    message = str(caught.value)
    if part in FORMATS[form].parts:
        assert f"model.{part}.kind is 'my_parts:Part', a class of your own" in message
        assert f"--format {form} cannot write" in message
    else:  # the head is not written, but the run has to be loaded
        assert "my_parts" in message
    assert not out.exists()


def test_options_belong_to_formats(own_smoke_run, tmp_path):
    with pytest.raises(UserError, match="format 'zip'; it must be one of peft, merged"):
        export_run(own_smoke_run, tmp_path / "out", "zip")
    with pytest.raises(UserError, match=r"--single-file does not apply.*take it: web"):
        export_run(own_smoke_run, tmp_path / "out", "onnx", single_file=True)
