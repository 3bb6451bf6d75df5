"""The parts of the page in ``web_page/``, as files or within one HTML file.

The page's modules use a small part of JavaScript's syntax for modules: ``import {a, b}
from "./x.js";`` and ``export`` before a declaration. A bundle is then the text of the
modules in the order of their imports, without these words; names are unique.
"""

import base64
import hashlib
import importlib.resources
import json
import re
from collections.abc import Mapping

_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+\.js)";\n', re.MULTILINE)
_RUNTIME_EXPORTS = re.compile(r"export\s*\{([^}]*)\};?")
_EXPORT = re.compile(r"^export (?=(?:async )?function|const|class)", re.MULTILINE)
_STYLE_LINK = '<link rel="stylesheet" href="style.css">'
_SCRIPT_LINK = '<script type="module" src="page.js"></script>'
_POLICY = "CONTENT-SECURITY-POLICY"
WORKER = "worker.js"
MODULES = (WORKER, "capture.js")  # that the page starts, besides its own
PAGE = "index.html"


def page_files() -> dict[str, str]:
    """Returns the page's own files: text by name."""
    folder = importlib.resources.files("mldg_jax.exporting") / "web_page"
    return {
        x.name: x.read_text(encoding="utf-8")
        for x in folder.iterdir()
        if x.name.endswith((".html", ".css", ".js"))
    }


def folder_policy() -> str:
    """Returns the content security policy of the page in a folder.

    The worker starts from a blob, so that it has the same policy; 'self' is for the
    threads that onnxruntime starts.
    """
    return _policy("'self'", "'self'", connect="'self'", worker="'self' blob:")


def with_policy(page: str, policy: str) -> str:
    """Puts a policy in the page's heading.

    Args:
      page: the text of ``index.html``.
      policy: see ``folder_policy``.

    Returns:
      The page.
    """
    assert page.count(_POLICY) == 1
    return page.replace(_POLICY, policy)


def single_page(assets: Mapping[str, bytes], runtime: str, notice: str) -> str:
    """Puts the whole page in one HTML file, which opens from disk.

    Its policy allows no connection at all.

    Args:
      assets: further files by the name with which the page asks for them.
      runtime: the module of onnxruntime-web.
      notice: licences of what is in it, for a comment.

    Returns:
      The HTML text.
    """
    files = page_files()
    script = f"\n{bundle('page.js', files)}"
    style = f"\n{files['style.css']}"
    modules = {name: bundle(name, files) for name in MODULES}
    modules[WORKER] = f"{_as_script(runtime)}\n{modules[WORKER]}"
    contents = {**assets, **{name: text.encode() for name, text in modules.items()}}
    blocks = "".join(
        f'<script type="text/plain" id="asset:{name}">'
        f"{base64.b64encode(content).decode()}</script>\n"
        for name, content in contents.items()
    )
    policy = _policy(f"'{_hash(script)}' blob:", f"'{_hash(style)}'", worker="blob:")
    page = with_policy(files[PAGE], policy)
    for link, text in (
        (_STYLE_LINK, f"<style>{style}</style>"),
        (_SCRIPT_LINK, f'{blocks}<script type="module">{script}</script>'),
    ):
        assert page.count(link) == 1
        page = page.replace(link, text)
    return page.replace("<html", f"<!--\n{notice.replace('--', '- -')}-->\n<html", 1)


def bundle(name: str, files: Mapping[str, str]) -> str:
    """Joins a module and those that it imports.

    Args:
      name: of the module, in ``files``.
      files: text by name.

    Returns:
      A module without imports and exports.
    """
    order: list[str] = []

    def visit(module: str) -> None:
        for imported in _IMPORT.findall(files[module]):
            visit(imported)
        if module not in order:
            order.append(module)

    visit(name)
    texts = [_EXPORT.sub("", _IMPORT.sub("", files[module])) for module in order]
    return "\n".join(texts)


def _as_script(module: str) -> str:
    """Turns the module of onnxruntime-web into a script that sets ``onnxruntime``.

    Browsers start no module as a worker from a page on disk, nor let one import any.
    """
    exports = _RUNTIME_EXPORTS.findall(module)
    assert len(exports) == 1  # of the pinned version
    pairs = [x.split(" as ") for x in exports[0].split(",")]
    names = ",".join(f"{json.dumps(new.strip())}:{old.strip()}" for old, new in pairs)
    text = _RUNTIME_EXPORTS.sub(lambda _: f"return {{{names}}};", module)
    text = text.replace("import.meta.url", "self.location.href")
    return f"self.onnxruntime = (async () => {{\n{text}\n}})();"


def _policy(script: str, style: str, *, connect: str = "'none'", worker: str) -> str:
    return (
        f"default-src 'none'; script-src {script} 'wasm-unsafe-eval'; "
        f"style-src {style}; connect-src {connect}; worker-src {worker}; "
        "media-src blob:; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    """Returns the source expression that allows an inline script or style."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"sha256-{digest}"
