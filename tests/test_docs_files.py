"""The page on files: its pieces of Python run, and its tables are those of the committed results."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ganfeat.feature_files import write_part
from ganfeat.projection import fit_projection

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
PIECES = [
    code for code in re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S) if "not run by the tests" not in code
]


def result(name):
    path = ROOT / "docs" / "results" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def rows():
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    return [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture
def features(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    folder = tmp_path / "features"
    (folder / "errors").mkdir(parents=True)
    for i in range(2):
        values = generator.normal(size=(30, 16)).astype(np.float32)
        ids = [f"cats/{30 * i + j}.jpg" for j in range(30)]
        write_part(folder / f"part-{i:05d}.parquet", ids, np.arange(30) % 3, values)
    pq.write_table(pa.table({"id": ["x"], "source": ["x"], "reason": ["cut"]}), folder / "errors/part-00000.parquet")
    (folder / "features.json").write_text(json.dumps({"images": 60}))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("code", PIECES, ids=range(len(PIECES)))
def test_the_pages_python_runs(code, features):
    found = {}
    exec(compile(code, "files.md", "exec"), found)
    if "index" in found:  # each image is nearest to itself
        assert found["nearest"][:, 0].tolist() == [0, 1]
    if "exact" in found:
        assert np.allclose(found["small"], found["exact"].transform(found["table"].read()), atol=1e-4)
    if "batches" in found:
        assert [one["id"] for one in found["batch"]][-1] == "cats/59.jpg"
    if "parts" in found:
        assert found["features"].num_rows == 60
    if "model" in found and "rows" in found:
        assert np.array_equal(found["rows"], found["table"].read())


def test_there_is_something_to_run():
    assert len(PIECES) == 6


def script():
    spec = importlib.util.spec_from_file_location("pca_cost", ROOT / "examples" / "pca_cost.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_what_components_cost():
    """The table with its caption and its two sentences, as the example writes them."""
    made = script()
    content = result("pca")
    between = PAGE.partition(made.MARKS[0])[2].partition(made.MARKS[1])[0]
    assert between.strip() == made.table(content).strip()
    shown = {row[0]: row[1:] for row in rows() if len(row) == 7}
    assert len(content["results"]) >= 15
    for name, point in content["results"].items():
        kept = [f"{100 * point[k]:.1f} %" if k in point else "" for k in ("kept", "kept of test images")]
        accuracy = [f"{100 * v['mean']:.1f} ± {100 * v['ci95']:.1f}" for v in point["accuracy"].values()]
        assert shown[name] == [f"{point['bytes an image']:,}", *kept, *accuracy]


def test_the_page_says_of_which_images_it_is_and_what_512_components_cost():
    content = result("pca")
    assert f"{content['train']:,} training images, {content['test']:,} test images: {content['test images']}." in PAGE
    whole, small = (content["results"][f"trained, {k}"]["accuracy"] for k in ("all features", "512 components"))
    sentence = next(line for line in PAGE.splitlines() if line.startswith("**From 28,672 features to 512 components**"))
    for k in whole:
        assert f"{100 * (small[k]['mean'] - whole[k]['mean']):+.1f} points" in sentence


def test_the_share_of_test_rows_is_that_of_their_reconstruction():
    generator = np.random.default_rng(0)
    train, test = (generator.normal(size=(n, 12)) * np.arange(1, 13) + 3 for n in (90, 40))
    projection = fit_projection(lambda: [train], 5)
    shares = script().captured(projection, test, projection.transform(test))
    for k in (1, 5):
        one = projection.first(k)
        lost = np.square(test - one.inverse_transform(one.transform(test))).sum()
        assert shares[k - 1] == pytest.approx(1 - lost / np.square(test - projection.mean).sum(), rel=1e-5)


def test_components_keep_more_with_more_of_them_and_whitening_hurts_with_few_labels():
    """Whitening in the mean over numbers of components."""
    content = result("pca")["results"]
    sizes = (64, 128, 256, 512, 1024, 2048)
    plain, whitened = ([content[f"trained, {k} components{w}"] for k in sizes] for w in ("", ", whitened"))
    assert [point["kept"] for point in plain] == sorted(point["kept"] for point in plain)
    few = [sum(point["accuracy"]["10"]["mean"] for point in points) for points in (plain, whitened)]
    assert few[0] > few[1]


def test_the_page_shows_how_fast_components_are_learned():
    shown = {row[0]: row[1:] for row in rows() if len(row) == 5}
    found = result("pca-streaming")["results"]
    for name, point in found.items():
        shares = [f"{100 * point[key]:.2f} %" for key in ("captured", "captured of held-out rows")]
        assert shown[name] == [str(point["CPU seconds"]), f"{point['peak memory, MiB']:,}", *shares]
    ours, theirs = found["ganfeat, passes: 3"], found["IncrementalPCA, batches of 256"]
    assert ours["CPU seconds"] < theirs["CPU seconds"] / 2
    assert ours["peak memory, MiB"] < theirs["peak memory, MiB"]
    assert ours["captured of held-out rows"] > theirs["captured of held-out rows"] - 0.001
