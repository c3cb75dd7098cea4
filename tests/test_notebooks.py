"""The notebooks: clean as committed, each runnable by plain papermill, true when it could not do its work."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from conftest import RunningLab, Walk
from nbconvert import HTMLExporter

from rdsca_helpers.lab.seed import BILLING
from rdsca_helpers.parameters import NOTEBOOKS, PARAMETERS, check, of_cell

ROOT = Path(__file__).parent.parent / "notebooks"
FILES = sorted(ROOT.glob("*.ipynb"))
NAMES = [f.stem for f in FILES]


def read(name: str) -> Any:
    return nbformat.read(ROOT / f"{name}.ipynb", 4)


def code(name: str) -> list[Any]:
    return [c for c in read(name).cells if c.cell_type == "code"]


def parameters(name: str) -> str:
    (cell,) = [c for c in code(name) if "parameters" in c.metadata.get("tags", ())]
    return str(cell.source)


def test_there_is_a_notebook_for_every_set_of_parameters_and_no_other() -> None:
    assert list(NOTEBOOKS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_notebook_is_valid_has_named_cells_and_carries_no_output(name: str) -> None:
    raw = json.loads((ROOT / f"{name}.ipynb").read_text())
    nbformat.validate(nbformat.from_dict(raw))
    assert (raw["nbformat"], raw["nbformat_minor"]) == (4, 5)
    assert raw["metadata"]["kernelspec"]["name"] == "python3"
    assert raw["metadata"].keys() <= {"kernelspec", "language_info"}
    ids = [c["id"] for c in raw["cells"]]
    assert len(set(ids)) == len(ids)
    assert all(i.startswith(name[3:] + "-") for i in ids)
    for cell in raw["cells"]:
        assert cell["metadata"].keys() <= {"tags"}
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_tells_and_leaves_the_doing_to_helpers(name: str) -> None:
    for cell in code(name):
        tree = ast.parse(cell.source)  # neither !commands nor %magic are Python
        kinds = (ast.FunctionDef, ast.ClassDef, ast.For, ast.While, ast.Try, ast.With, ast.If, ast.Lambda)
        assert not [n for n in ast.walk(tree) if isinstance(n, kinds)], cell.id
        assert "parameters" in cell.metadata.get("tags", ()) or len(cell.source.splitlines()) <= 8, cell.id
        imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        assert imported <= {"rdsca_helpers"}


@pytest.mark.parametrize("name", NAMES)
def test_words_come_before_each_step(name: str) -> None:
    cells = read(name).cells
    assert cells[0].cell_type == "markdown"
    assert re.match(r"# \S", cells[0].source)
    run = 0
    for cell in cells:
        run = 0 if cell.cell_type == "markdown" else run + 1
        assert run <= 4, f"{cell.id}: much code and no words"


@pytest.mark.parametrize("name", NAMES)
def test_the_parameters_cell_says_what_the_package_knows(name: str) -> None:
    lines = [
        f"{p.name}: {type(p.default).__name__} = {json.dumps(p.default)}  # {p.help}"
        for p in (PARAMETERS[word] for word in NOTEBOOKS[name])
    ]
    assert parameters(name).splitlines() == lines
    known = papermill.inspect_notebook(str(ROOT / f"{name}.ipynb"))
    assert {k: v["help"] for k, v in known.items()} == {w: PARAMETERS[w].help for w in NOTEBOOKS[name]}


@pytest.mark.parametrize("name", NAMES)
def test_the_first_cell_after_the_parameters_checks_them(name: str) -> None:
    cells = code(name)
    at = next(n for n, c in enumerate(cells) if "parameters" in c.metadata.get("tags", ()))
    assert f'run = rdsca.start("{name}", globals())' in cells[at + 1].source
    namespace: dict[str, Any] = {}
    exec(parameters(name), namespace)
    assert set(check(name, of_cell(name, namespace))) == set(NOTEBOOKS[name])


@pytest.fixture(scope="module")
def by_hand(lab: RunningLab, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """Every notebook by plain papermill, in order, with its defaults but a run folder of its own.

    Gives the folder of the executed notebooks, and how many requests meanwhile changed something.
    """
    out = tmp_path_factory.mktemp("by-hand")
    stores = {p: p.read_bytes() for p in (lab.folder / "stores").rglob("*") if p.is_file()}
    before = lab.get("calls")["mutating"]
    for file in FILES:
        folder = out / "runs/111111111111"
        given = {"run_dir": str(folder)} if file.stem != "00-start" else {}
        papermill.execute_notebook(str(file), str(out / file.name), given, progress_bar=False)
    assert stores == {p: p.read_bytes() for p in stores}
    return out, lab.get("calls")["mutating"] - before


def test_every_notebook_runs_alone_with_its_defaults_and_changes_nothing(by_hand: tuple[Path, int]) -> None:
    out, changes = by_hand
    assert changes == 0
    assert {p.name for p in out.glob("*.ipynb")} == {f.name for f in FILES}
    kept = {p.name for p in (out / "runs/111111111111").iterdir()}
    reports = {"inventory.json", "sessions.json", "trust.json", "plan.json", "rotation.json", "proof.json"}
    reports |= {"parameters.json"}
    assert kept == {*reports, "bundle.pem", "report.html", "manifest.json"}
    assert (out / "runs/index.html").exists()
    for file in out.glob("*.ipynb"):
        for cell in nbformat.read(file, 4).cells:
            assert cell.cell_type == "markdown" or not [o for o in cell.outputs if o.get("name") == "stderr"], cell.id


class _Images(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.alts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.alts.append(dict(attrs).get("alt") or "")


@pytest.mark.parametrize("name", ["01-discover", "02-sessions", "03-trust-stores", "04-plan"])
def test_every_figure_says_in_words_what_it_shows(by_hand: tuple[Path, int], name: str) -> None:
    text, _ = HTMLExporter().from_notebook_node(nbformat.read(by_hand[0] / f"{name}.ipynb", 4))
    images = _Images()
    images.feed(text)
    assert images.alts
    for alt in images.alts:
        assert len(alt) > 20
        assert "No description" not in alt


def plain(name: str, out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", str(ROOT / f"{name}.ipynb"), str(out), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("01-discover", ["-p", "aply", "True"], "unknown parameter aply"),
        ("01-discover", ["-p", "account", BILLING], f"not {BILLING}"),
        ("05-rotate", ["-p", "action", "true"], "parameter action takes"),
    ],
)
def test_plain_papermill_ends_badly_when_a_notebook_could_not_do_its_work(
    lab: RunningLab, tmp_path: Path, name: str, words: list[str], message: str
) -> None:
    folder = tmp_path / "run"
    done = plain(name, tmp_path / "out.ipynb", "-p", "run_dir", str(folder), *words)
    assert done.returncode != 0
    assert message in done.stderr
    assert not folder.exists()
    cells = nbformat.read(tmp_path / "out.ipynb", 4).cells
    (error,) = [o for c in cells if c.cell_type == "code" for o in c.outputs if o.output_type == "error"]
    assert len(error.traceback) == 1  # the message is the help, not a traceback


def test_the_notebooks_of_a_walk_are_complete_and_in_order(walked: Walk) -> None:
    found = sorted(p.stem for p in walked.folder.glob("*.ipynb"))
    assert found == [n for n in NAMES if "01" <= n[:2] <= "07"]
    ends = []
    for name in found:
        made = nbformat.read(walked.folder / f"{name}.ipynb", 4)
        assert {c.metadata.papermill["status"] for c in made.cells} == {"completed"}
        assert made.metadata.papermill["exception"] is None
        ends.append(made.metadata.papermill["end_time"])
    assert ends == sorted(ends)
