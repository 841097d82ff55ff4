"""Of thousands of damaged checkpoints the library calls none whole, and none damaged that TensorFlow reads unharmed.

What is damaged is not assumed: TensorFlow 2.4, 2.15 and 2.21 are asked about each case. A case counts as damaged when
one of those that can read its original says so. `make test` takes a few cases of each kind, made of the checkpoints in
tests/data; `make test-full PART=damage` makes new ones by each TensorFlow, takes many of each kind, and writes
docs/damage.md.
"""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import damage_corpus as corpus
import damage_report as report
import judging
import pytest

DATA = Path(__file__).parents[1] / "data" / "checkpoints"
VERSIONS = ("2.4", "2.15", "2.21")
SEED = 4
FEW, MANY = 8, 950
FAMILIES, SAVES = 24, 5


@pytest.fixture(scope="module")
def tensorflows():
    """{version: interpreter} of those that this machine has."""
    variables = {version: f"LASTGOOD_TEST_TF_{version.replace('.', '_')}_PYTHON" for version in VERSIONS}
    found = {version: os.environ.get(name, "") for version, name in variables.items()}
    found = {version: python for version, python in found.items() if Path(python).is_file()}
    if len(found) < 2:
        pytest.skip("expected LASTGOOD_TEST_TF_2_15_PYTHON and LASTGOOD_TEST_TF_2_21_PYTHON; `make test` sets them")
    return found


@pytest.fixture
def workplace(tmp_path):
    """An empty directory, in memory where there is such a place: a hundred thousand files wait for no disk."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(dir="/dev/shm", prefix="lastgood-damage-") as directory:
        yield Path(directory)


def families_of_real_checkpoints():
    """The checkpoints in tests/data, by folder."""
    found = {}
    for index in sorted(DATA.glob("tf-*/**/*.index")):
        found.setdefault(index.parent, []).append((index.with_suffix(""), None))
    return list(found.values())


def families_by(version, python, directory):
    """Random ones that this TensorFlow writes."""
    folder = directory / version
    folder.mkdir()
    program = judging.TENSORFLOW_SIDE / "random_saves.py"
    command = [python, program, folder, str(SEED), str(FAMILIES), str(SAVES)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads((folder / "truth.json").read_text())["checkpoints"]
    return [[(folder / save["prefix"], save["known"]) for save in row["saves"]] for row in rows]


def judged(tensorflows, directory, families, per_kind):
    """The cases, {version: its verdicts}, and what the library says."""
    root = directory / "corpus"
    cases = list(corpus.draw(corpus.collect(root, families), SEED, per_kind))
    listed = directory / "cases"
    listed.write_text("".join(json.dumps(case) + "\n" for case in cases))

    def ask(version):
        return judging.judge_all(tensorflows[version], root, listed, len(cases), directory / f"scratch-{version}")

    with ThreadPoolExecutor(len(tensorflows)) as pool:
        asked = {version: pool.submit(ask, version) for version in tensorflows}
        ours = judging.verify_all(root, cases, directory / "ours")
        verdicts = {version: answer.result() for version, answer in asked.items()}
    return cases, verdicts, ours


def test_of_a_few_cases_of_each_kind_every_damaged_one_is_found_and_no_other(tensorflows, workplace):
    families = families_of_real_checkpoints()

    cases, verdicts, ours = judged(tensorflows, workplace, families, FEW)

    rows = report.rows_of(cases, verdicts, ours)
    assert report.mistakes(rows) == []
    assert {row.kind for row in rows} == set(corpus.KINDS)
    assert sum(row.is_damaged for row in rows) > 150
    assert sum(not row.is_damaged for row in rows) > 40


@pytest.mark.breadth
@pytest.mark.timeout(7200)
def test_of_many_cases_of_each_kind_every_damaged_one_is_found_and_no_other(tensorflows, workplace):
    families = [family for version, python in tensorflows.items() for family in families_by(version, python, workplace)]

    cases, verdicts, ours = judged(tensorflows, workplace, families, MANY)

    rows = report.rows_of(cases, verdicts, ours)
    report.write(rows, verdicts, SEED)
    print("\n" + report.table(rows))
    assert report.mistakes(rows) == []
    assert report.kinds_with_fewer(rows, 500) == []
    assert sum(row.is_damaged for row in rows) >= 20_000
    assert sum(not row.is_damaged for row in rows) >= 2_000
