"""What the endpoints promise, and identities between them."""

from __future__ import annotations

import io
import json
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("studio_extra")

ROUNDING = 1
"""Grey levels: a batch of one runs other kernels than a batch of many."""
BOXES = [{"z": f"s0.{i}", "x": 2 + i % 4, "y": 3, "width": 6, "height": 5} for i in range(6)]


def get(http: Any, path: str, **parameters: Any) -> Any:
    answer = http.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ready(http: Any, path: str, **parameters: Any) -> Any:
    """The answer, when the work behind it is done."""
    for _ in range(300):
        answer = http.get(path, params=parameters)
        if answer.status_code != 202:
            assert answer.status_code == 200, answer.text
            return answer.json()
        progress = answer.json()
        assert 0 <= progress["progress"] <= 1
        assert progress["doing"]
        time.sleep(0.05)
    raise AssertionError(progress)


def vector(reference: str) -> np.ndarray:
    import base64

    return np.frombuffer(base64.urlsafe_b64decode(reference[1:] + "=" * (-(len(reference) - 1) % 4)), "<f4")


# ---------------------------------------------------------------------- samples


def test_run(http: Any, studio: Any) -> None:
    run = get(http, "api/run")
    assert run["image_shape"] == [16, 16, 1]
    assert (run["method"], run["n_components"], run["prior"]) == ("dcgan", 8, "uniform")
    assert (run["networks"], run["has_encoder"], run["condition"]) == (["discriminator"], False, None)
    assert run["data"] == {
        "source": studio.session.data.source,
        "n": 96,
        "classes": [str(i) for i in range(10)],
        "labelled": True,
    }
    assert not run["imported"]
    assert run["settings"]["n_components"] == 8


def test_samples_are_the_models_own(http: Any, studio: Any, decode: Any) -> None:
    found = get(http, "api/samples", seed=3, n=5)
    gan = studio.session.gan
    expected = gan.picture(gan.latents(256, 3)[:5])
    assert found["refs"] == [f"s3.{i}" for i in range(5)]
    assert np.array_equal([decode(uri) for uri in found["images"]], expected[..., 0])


def test_fewer_samples_are_the_first_of_more(http: Any, decode: Any) -> None:
    few, many = (get(http, "api/samples", n=n)["images"] for n in (3, 40))
    for one, other in zip(few, many, strict=False):
        assert np.abs(decode(one).astype(int) - decode(other)).max() <= ROUNDING


def test_downloads_of_z_agree_and_lead_back(http: Any, studio: Any) -> None:
    names = "s0.0,s0.255,s7.3"
    rows = get(http, "api/latents.json", z=names)
    answer = http.get("api/latents.npy", params={"z": names})
    array = np.load(io.BytesIO(answer.content), allow_pickle=False)
    assert "attachment" in answer.headers["content-disposition"]
    assert array.dtype == np.float32
    assert np.array_equal(array, np.float32([row["z"] for row in rows["latents"]]))
    assert np.array_equal(array[1], studio.session.gan.latents(256, 0)[255])
    from ganfeat.latent import vector_reference

    again = ",".join(vector_reference(z) for z in array)
    assert get(http, "api/images", z=again) == get(http, "api/images", z=names)


def test_png_is_the_image_enlarged(http: Any, decode: Any) -> None:
    (uri,) = get(http, "api/images", z="s0.4")["images"]
    one, three = (decode(http.get("api/image.png", params={"z": "s0.4", "scale": s}).content) for s in (1, 3))
    assert np.array_equal(one, decode(uri))
    assert np.array_equal(three, one.repeat(3, axis=0).repeat(3, axis=1))


# ---------------------------------------------------------------------- walk


@pytest.mark.parametrize("kind", ["linear", "spherical"])
@pytest.mark.parametrize("closed", [0, 1])
def test_a_walk_meets_its_points(http: Any, studio: Any, decode: Any, kind: str, closed: int) -> None:
    """At whole t it is at the points, exactly; a closed one ends where it began."""
    stops = [0, 5, 9]
    points = ",".join(f"s0.{i}" for i in stops)
    z = studio.session.gan.latents(256, 0)
    for t, stop in enumerate([*stops, *stops[:closed]]):
        answer = http.get("api/walk", params={"points": points, "t": t, "kind": kind, "closed": closed})
        assert np.array_equal(vector(answer.headers["x-reference"]), z[stop])
        assert answer.content == http.get("api/image.png", params={"z": f"s0.{stop}"}).content


def test_the_linear_middle_is_the_mean(http: Any, studio: Any) -> None:
    z = studio.session.gan.latents(256, 0)
    answer = http.get("api/walk", params={"points": "s0.0,s0.1", "t": 0.5})
    assert np.allclose(vector(answer.headers["x-reference"]), (z[0] + z[1]) / 2, atol=1e-6)


def test_t_beyond_the_path_is_refused(http: Any) -> None:
    for closed, status in ((0, 400), (1, 200)):
        answer = http.get("api/walk", params={"points": "s0.0,s0.1", "t": 2, "closed": closed})
        assert answer.status_code == status


def test_a_strip_is_the_walk_frame_by_frame(http: Any, decode: Any) -> None:
    points = "s0.0,s0.1,s0.2"
    strip = get(http, "api/walk/strip", points=points, frames=3)
    assert strip["t"] == [i / 3 for i in range(7)]
    for t, reference, uri in zip(strip["t"], strip["refs"], strip["images"], strict=True):
        answer = http.get("api/walk", params={"points": points, "t": t})
        assert np.allclose(vector(reference), vector(answer.headers["x-reference"]), atol=1e-6)
        assert np.abs(decode(uri).astype(int) - decode(answer.content)).max() <= ROUNDING
    assert len(strip["smoothness"]["pixel_steps"]) == 6
    assert strip["smoothness"]["ratio"] >= 1
    assert 0 <= strip["memorisation"]["score"] <= 1
    assert strip["memorisation"]["words"]
    assert strip["memorisation"]["learned_from"] is True  # the images that the run was trained on
    assert len(strip["neighbours"]) == 7


@pytest.mark.parametrize(("learned", "copies"), [(True, True), (False, False), (None, False)])
def test_copies_are_spoken_of_beside_what_was_learned_from_alone(learned: bool | None, copies: bool) -> None:
    from ganfeat.studio.walks import in_words

    for score in (0.0, 0.5, 1.0):
        words = in_words(score, learned)
        assert f"{score:.0%}" in words
        assert ("nothing of memorising" in words) is not copies
        if not copies:
            assert "cop" not in words.lower()
    assert ("Copies" in in_words(0.97, learned)) is copies


@pytest.mark.parametrize(
    ("source", "limit", "learned"),
    [
        ("digits", 96, True),
        ("digits", 60, None),  # a part: copies of the others would be missed
        ("mnist5k", 60, None),
        ("mnist5k", 96, False),  # as many, and others
        ("digits", 200, False),
    ],
)
def test_whether_it_learned_from_the_data(tiny_run: Any, source: str, limit: int, learned: bool | None) -> None:
    from ganfeat.studio.session import open_session

    session = open_session(tiny_run, source, limit=limit, device="cpu")
    assert session.learned_from() is learned
    session.close()


def test_of_an_imported_network_it_is_not_known(tiny_session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_session.run.config()
    config["data"] = {"source": "elsewhere", "imported": "arrays", "fingerprint": config["data"]["fingerprint"]}
    monkeypatch.setattr(type(tiny_session.run), "config", lambda self: config)
    assert tiny_session.learned_from() is None


def test_what_depends_on_the_data_alone_is_computed_once(http: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from ganfeat.probes.knn import KNNClassifier

    first = get(http, "api/walk/strip", points="s0.0,s0.1", frames=3)
    monkeypatch.setattr(KNNClassifier, "fit", lambda *arguments: pytest.fail("fitted again"))
    assert get(http, "api/walk/strip", points="s0.0,s0.1", frames=3) == first


def test_a_strip_between_the_same_points_has_no_steps(http: Any) -> None:
    strip = get(http, "api/walk/strip", points="s0.0,s0.0", frames=2)
    assert len(set(strip["images"])) == 1
    assert strip["smoothness"] is strip["memorisation"] is strip["neighbours"] is None


@pytest.mark.parametrize(("closed", "frames"), [(0, 9), (1, 12)])
def test_gif(http: Any, closed: int, frames: int) -> None:
    """Of a closed walk the last frame, which is the first, is left out."""
    from PIL import Image

    answer = http.get("api/walk.gif", params={"points": "s0.0,s0.1,s0.2", "frames": 4, "closed": closed, "scale": 2})
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert (picture.size, picture.n_frames) == ((32, 32), frames)
        assert picture.info["loop"] == 0


# ---------------------------------------------------------------------- arithmetic


def test_a_minus_a_plus_c_is_c(http: Any, studio: Any, decode: Any) -> None:
    found = get(http, "api/arithmetic", a="s0.0,s0.1,s0.2", b="s0.0,s0.1,s0.2", c="s0.9")
    assert np.allclose(vector(found["result"]["ref"]), studio.session.gan.latents(256, 0)[9], atol=1e-6)
    (uri,) = get(http, "api/images", z="s0.9")["images"]
    assert np.abs(decode(found["result"]["image"]).astype(int) - decode(uri)).max() <= ROUNDING
    assert np.abs(decode(found["pixel"]).astype(int) - decode(uri)).max() <= ROUNDING
    assert found["means"]["a"] == found["means"]["b"]


def test_one_exemplar_without_noise_is_itself(http: Any) -> None:
    found = get(http, "api/arithmetic", a="s0.3", noise=0)
    assert len(found["neighbours"]) == 8
    assert {n["ref"] for n in found["neighbours"]} == {found["result"]["ref"]}
    assert found["means"]["b"] is found["means"]["c"] is None


def test_noise_stays_within_its_bound(http: Any) -> None:
    found = get(http, "api/arithmetic", a="s0.3", noise=0.1, seed=5)
    middle = vector(found["result"]["ref"])
    apart = [np.abs(vector(n["ref"]) - middle).max() for n in found["neighbours"]]
    assert max(apart) <= 0.1 + 1e-6
    assert min(apart) > 0.01


# ---------------------------------------------------------------------- uploads


def test_a_sample_is_found_again(http: Any, decode: Any) -> None:
    """The search for z of an image that G drew ends nearer than any of many other samples is."""
    sent = http.get("api/image.png", params={"z": "s5.17"}).content
    answer = http.post("api/invert", content=sent, headers={"Content-Type": "image/png"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["by"] == "optimisation"
    assert np.array_equal(decode(found["given_image"]), decode(sent))
    others = np.array([decode(uri) for uri in get(http, "api/samples", n=256)["images"]], np.float64)
    nearest = np.sqrt((((others - decode(sent)) / 255) ** 2).mean(axis=(1, 2))).min()
    assert found["error"] < nearest
    (uri,) = get(http, "api/images", z=found["ref"])["images"]
    assert uri == found["image"]
    assert found["error"] < found["random"] < found["unrelated"]
    each = np.sqrt((((others[:64] - decode(sent)) / 255) ** 2).mean(axis=(1, 2)))
    assert found["unrelated"] == pytest.approx(each.mean(), abs=1e-3)


def test_too_many_searches_leave_room_for_others(http: Any, studio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """While as many pictures as are allowed are searched for, one more is refused, and all else is answered."""
    import threading

    from ganfeat.studio import uploads as module

    release, asked = threading.Event(), threading.Semaphore(0)
    ask = studio.session.searches.ask

    def found(session: Any, sent: bytes, given: int, job: Any) -> dict[str, Any]:
        assert release.wait(30)
        return {"sent": sent.decode()}

    def post(name: str) -> Any:
        return http.post("api/invert", content=name.encode(), headers={"Content-Type": "image/png"})

    def counted(key: Any, work: Any) -> Any:
        asked.release()
        return ask(key, work)

    monkeypatch.setattr(module, "found", found)
    monkeypatch.setattr(studio.session.searches, "ask", counted)
    with ThreadPoolExecutor(module.MOST_WAITING) as pool:
        waiting = [pool.submit(post, f"search {i}") for i in range(module.MOST_WAITING)]
        try:
            for _ in waiting:
                assert asked.acquire(timeout=20)
            answer = post("one more")
            assert answer.status_code == 503
            assert "try again" in answer.json()["error"]
            assert int(answer.headers["retry-after"]) > 0
            assert http.get("api/walk", params={"points": "s0.0,s0.1"}).status_code == 200
        finally:
            release.set()
        assert [w.result().json()["sent"] for w in waiting] == [f"search {i}" for i in range(module.MOST_WAITING)]
    assert post("one more").status_code == 200


def uploads() -> dict[str, bytes]:
    from PIL import Image

    def encoded(picture: Image.Image, kind: str) -> bytes:
        file = io.BytesIO()
        picture.save(file, kind)
        return file.getvalue()

    whole = encoded(Image.new("L", (40, 40), 9), "PNG")
    header = bytearray(whole)
    header[16:24] = (60_000).to_bytes(4, "big") * 2  # claims 3.6 gigapixels
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")
    return {
        "empty": b"",
        "text": b"hello",
        "torn": whole[:60],
        "bomb": encoded(Image.new("1", (4001, 4000)), "PNG"),  # 2 kB of PNG, above 16 megapixels
        "claims to be a bomb": bytes(header),
        "tiff": encoded(Image.new("L", (8, 8)), "TIFF"),
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    }


@pytest.mark.parametrize("name", ["empty", "text", "torn", "bomb", "claims to be a bomb", "tiff", "svg"])
def test_what_is_no_picture_is_refused(http: Any, name: str) -> None:
    answer = http.post("api/invert", content=uploads()[name], headers={"Content-Type": "image/png"})
    assert answer.status_code == 400
    assert "picture" in answer.json()["error"]
    if "bomb" in name:
        assert "16,000,000 pixels" in answer.json()["error"]


def test_a_picture_must_say_that_it_is_one(http: Any) -> None:
    assert http.post("api/invert", content=b"x", headers={"Content-Type": "text/plain"}).status_code == 415


# ---------------------------------------------------------------------- forget


def test_without_maps_dropped_nothing_changes(http: Any) -> None:
    fit = http.post("api/forget", json={"boxes": BOXES}).json()
    found = get(http, "api/forget/compare", id=fit["id"], maps=0, z="s0.0,s3.9")
    assert found["before"] == found["after"] == found["control"]
    presence = found["presence"]
    assert presence["before"] == presence["after"] == presence["control"]
    assert presence["control_range"] == [presence["before"]] * 2


def test_presence_is_what_the_command_measures(http: Any, studio: Any) -> None:
    """The control is the mean of several draws, beside their range."""
    from ganfeat.inspection.boxes import as_boxes
    from ganfeat.inspection.effect import DRAWS, effect
    from ganfeat.inspection.forgetting import draw_without, fit_forgetting
    from ganfeat.inspection.presence import eyes, fit_presence

    fit = http.post("api/forget", json={"boxes": BOXES}).json()
    found = get(http, "api/forget/compare", id=fit["id"], maps=3, z="s0.0")["presence"]
    gan, z = studio.session.gan, studio.session.latents(0)[:6]
    boxes = [[box] for box in as_boxes(BOXES, (16, 16), "here")]
    forgetting = fit_forgetting(gan.decoder(), z, boxes, (16, 16))
    describe, _ = eyes(gan.extractor("discriminator", taps="all", pool=None), (16, 16, 1))
    probe = fit_presence(draw_without(gan.decoder(), z, forgetting.layer), boxes, describe)
    whole, without = effect(gan.decoder(), z, boxes, forgetting, probe, [0, 3])
    draws = without["random"]["of_draws"]
    assert found["before"] == pytest.approx(whole["dropped"]["presence"]["mean"])
    assert found["elsewhere"] == pytest.approx(whole["dropped"]["elsewhere"]["mean"])
    assert found["after"] == pytest.approx(without["dropped"]["presence"]["mean"])
    assert np.diff(found["after_ci"]) / 2 == pytest.approx(without["dropped"]["presence"]["ci95"])
    assert found["draws"] == len(draws) == DRAWS
    assert found["control"] == pytest.approx(np.mean(draws))
    assert found["control_range"] == pytest.approx([min(draws), max(draws)])
    assert min(draws) < max(draws)


def test_what_is_watched_is_not_what_draws(tiny_session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of layers come from hooks: a G that another thread runs meanwhile would add its own."""
    from starlette.testclient import TestClient

    from ganfeat.studio import forget
    from ganfeat.studio.app import create_app

    watched, drawn = set(), set()

    def spy(name: str, seen: set[int], lock: Any) -> None:
        real = getattr(forget, name)

        def call(network: Any, *arguments: Any, **more: Any) -> Any:
            if lock.locked():
                seen.update(map(id, network.modules()))
            return real(network, *arguments, **more)

        monkeypatch.setattr(forget, name, call)

    spy("find_layer", watched, tiny_session.reading)
    spy("fit_forgetting", watched, tiny_session.reading)
    spy("draw_without", drawn, tiny_session.drawing)
    with TestClient(create_app(tiny_session, port=80), base_url="http://localhost") as client:
        assert client.get("/api/forget/layers").json()["layers"]
        fit = client.post("/api/forget", json={"boxes": BOXES}).json()["id"]
        assert client.get(f"/api/forget/compare?id={fit}&z=s0.0&measure=0").status_code == 200
    assert watched
    assert drawn
    assert not watched & drawn


def test_wrong_boxes_cost_no_fit(http: Any) -> None:
    fit = http.post("api/forget", json={"boxes": BOXES}).json()["id"]
    for i in range(12):
        answer = http.post("api/forget", json={"boxes": [{**BOXES[0], "x": i / 2}]})
        assert answer.status_code == 400
    assert http.get("api/forget/compare", params={"id": fit, "z": "s0.0", "measure": 0}).status_code == 200


def test_forgetting(http: Any, studio: Any, decode: Any) -> None:
    layers = get(http, "api/forget/layers")
    fit = http.post("api/forget", json={"boxes": BOXES, "layer": layers["default"]}).json()
    assert fit["layer"] == layers["layers"][-1]
    weights = [entry["weight"] for entry in fit["weights"]]
    assert weights == sorted(weights, reverse=True)
    assert fit["positive"] == len(weights) > 0
    assert min(weights) > 0
    assert (fit["images"], fit["boxes"]) == (6, 6)
    assert 0 <= fit["accuracy"]["held_out"] <= 1
    found = get(http, "api/forget/compare", id=fit["id"], maps=fit["positive"], z="s0.0,s0.1", measure=0)
    assert found["presence"] is None
    before = [decode(uri) for uri in found["before"]]
    assert np.abs(before - studio.session.gan.picture(studio.session.latents(0)[:2])[..., 0].astype(int)).max() <= 1
    assert found["after"] != found["before"]
    # more than there are is all there are, and the same boxes are the same fit
    again = get(http, "api/forget/compare", id=fit["id"], maps=10**6, z="s0.0,s0.1", measure=0, control=0)
    assert (again["maps"], again["after"], again["control"]) == (fit["positive"], found["after"], None)
    assert http.post("api/forget", json={"boxes": BOXES, "layer": -2}).json() == fit


def test_an_unknown_fit_is_404(http: Any) -> None:
    assert http.get("api/forget/compare", params={"id": "0" * 32, "z": "s0.0"}).status_code == 404


@pytest.mark.parametrize(
    "content",
    [
        {"boxes": []},
        {"boxes": BOXES[:1]},  # one sample: none can be held out
        {"boxes": [{**BOXES[0], "x": 1000}, *BOXES[1:]]},
        {"boxes": [{**BOXES[0], "width": 0}, *BOXES[1:]]},
        {"boxes": [{**BOXES[0], "z": "s0.256"}, *BOXES[1:]]},
        {"boxes": [{"z": "s0.0"}]},
        {"boxes": [{**box, "x": 0, "y": 0, "width": 16, "height": 16} for box in BOXES]},
        {"boxes": BOXES, "layer": -1},  # the image itself
        {"boxes": BOXES, "layer": 99},
        {"boxes": BOXES * 1000},
        {},
        [],
        None,
    ],
)
def test_wrong_boxes_are_refused_with_a_reason(http: Any, content: Any) -> None:
    answer = http.post("api/forget", json=content)
    assert answer.status_code == 400
    assert len(answer.json()["error"]) > 10


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"boxes": [{"z": "s0.0", "x": NaN, "y": 1, "width": 2, "height": 2}]}',
        b'{"boxes": [{"z": "s0.0", "x": 1e999, "y": 1, "width": 2, "height": 2}]}',
        b'{"boxes": [{"z": "s0.0", "x": ' + b"9" * 5000 + b', "y": 1, "width": 2, "height": 2}]}',
        b'{"boxes": [], "layer": ' + b"9" * 400 + b"}",
        b"\xff\xfe",
        b'"\\ud800"',
    ],
)
def test_odd_json_is_400(http: Any, body: bytes) -> None:
    answer = http.post("api/forget", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}


# ---------------------------------------------------------------------- features and channels


def test_map_of_features(http: Any, studio: Any, decode: Any) -> None:
    found = ready(http, "api/features")
    data = studio.session.data
    assert found["n"] == len(found["points"]) == len(found["clusters"]) == 96
    assert found["indices"] == list(range(96))
    assert found["labels"] == data.labels.tolist()
    points = np.array(found["points"])
    assert points.min() >= 0
    assert points.max() <= 1
    assert np.ptp(points, axis=0).max() == pytest.approx(1, abs=1e-3)
    assert set(found["clusters"]) == set(range(found["n_clusters"]))
    sheet = decode(http.get(found["sprite"]["url"]).content)
    size, columns = found["sprite"]["size"], found["sprite"]["columns"]
    row, column = divmod(37, columns)
    cell = sheet[row * size : (row + 1) * size, column * size : (column + 1) * size]
    assert np.array_equal(cell, data.images[37, ..., 0])
    assert np.array_equal(decode(http.get("api/data/image.png", params={"i": 37}).content), data.images[37, ..., 0])
    assert ready(http, "api/features", labels=0)["labels"] is None


def test_neighbours_are_scikit_learns(http: Any, studio: Any) -> None:
    from sklearn.neighbors import NearestNeighbors

    data = studio.session.data
    features = studio.session.gan.extractor().transform(data.images)
    distances, rows = NearestNeighbors(n_neighbors=6, metric="cosine").fit(features).kneighbors(features[11:12])
    found = ready(http, "api/neighbours", i=11, k=5)
    assert found["label"] == str(data.labels[11])
    assert found["measure"] == "cosine distance"
    assert [n["i"] for n in found["neighbours"]] == rows[0, 1:].tolist()
    assert np.allclose([n["distance"] for n in found["neighbours"]], distances[0, 1:], atol=1e-5)


def test_channels(http: Any, studio: Any, decode: Any) -> None:
    """The strongest of a channel is the maximum over all images, and its receptive field is where it was seen."""
    (network,) = get(http, "api/layers")["networks"]
    first, last = network["layers"][0], network["layers"][-1]
    assert (first["height"], first["index"]) == (8, 0)
    found = ready(http, "api/channel", layer=last["index"], channel=1, k=4)
    extractor = studio.session.gan.extractor(taps=[-1], pool=None, precision="fp32")
    maps = extractor.transform(studio.session.data.images).reshape(96, last["channels"], last["height"], last["width"])
    strongest = np.sort(maps[:, 1].max(axis=(1, 2)))[::-1][:4]
    assert np.allclose([item["value"] for item in found["items"]], strongest, atol=1e-4)
    assert found["of"] == "data"
    for item in found["items"]:
        image = decode(item["image"])
        assert np.array_equal(image, studio.session.data.images[item["i"], ..., 0])
        assert 0 <= item["x"] < item["x"] + item["width"] <= 16
        assert decode(item["crop"]).shape == decode(item["guided"]).shape == decode(item["plain"]).shape
    assert len(found["random"]) == 4
    assert len(get(http, "api/filters")["images"]) == first["channels"]


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("api/channel", {"layer": 99}),
        ("api/channel", {"layer": -99}),
        ("api/channel", {"channel": 10**6}),
        ("api/data/image.png", {"i": 96}),
        ("api/neighbours", {"i": 96}),
    ],
)
def test_what_is_not_there_is_404(http: Any, path: str, parameters: dict[str, int]) -> None:
    assert http.get(path, params=parameters).status_code == 404


# ---------------------------------------------------------------------- training


def test_history_and_sheets(http: Any, studio: Any) -> None:
    from ganfeat import history

    run = studio.session.run
    found = get(http, "api/history")
    records = history.read(run.history)
    assert [r["step"] for r in found["records"]] == [r["step"] for r in records]
    assert "loss/discriminator" in found["keys"]
    assert found["health"]["verdict"]
    sheets = get(http, "api/sheets")["sheets"]
    assert {s["name"] for s in sheets} == {p.name for p in run.samples.iterdir()}
    assert [s["step"] for s in sheets] == sorted(s["step"] for s in sheets)
    answer = http.get("api/sheet.png", params={"name": sheets[-1]["name"]})
    assert answer.content == (run.samples / sheets[-1]["name"]).read_bytes()


@pytest.mark.parametrize("n", [1, 2, 599, 600, 601, 5000])
def test_thinning_keeps_both_ends(n: int) -> None:
    from ganfeat.report.pictures import evenly_spaced

    found = evenly_spaced(list(range(n)), 600)
    assert (found[0], found[-1], len(found)) == (0, n - 1, min(n, 600))
    assert found == sorted(set(found))


def test_a_long_history_is_thinned_and_nan_is_null(http: Any, studio: Any) -> None:
    path = studio.session.run.history
    before = path.read_bytes()
    try:
        with path.open("a") as file:
            for step in range(1000, 3000):
                file.write(json.dumps({"step": step, "epoch": step / 6, "loss/odd": float("nan")}) + "\n")
        records = get(http, "api/history")["records"]
        assert len(records) == 600
        assert records[-1] == {"step": 2999, "epoch": 2999 / 6, "loss/odd": None}
    finally:
        path.write_bytes(before)


def test_a_run_that_trains_drives_nothing_out(http: Any, studio: Any) -> None:
    """However often its history has grown, what was expensive is kept."""
    get(http, "api/layers")
    layers = studio.session.kept.find(("layers", "discriminator"))
    assert layers is not None
    path = studio.session.run.history
    before = path.read_bytes()
    try:
        for step in range(1000, 1020):
            with path.open("a") as file:
                file.write(json.dumps({"step": step, "epoch": step / 6}) + "\n")
            assert get(http, "api/history")["records"][-1]["step"] == step
    finally:
        path.write_bytes(before)
    assert studio.session.kept.find(("layers", "discriminator")) is layers


# ---------------------------------------------------------------------- all


def test_at_the_same_time_as_one_after_the_other(http: Any) -> None:
    """Slider, grid, sums, boxes, channels and uploads at once give the bytes that they give alone."""
    fit = http.post("api/forget", json={"boxes": BOXES}).json()["id"]
    ready(http, "api/channel", channel=0)
    paths = [f"api/walk?points=s0.0,s0.1&t={i / 8}" for i in range(8)]
    paths += [f"api/samples?seed={i}&n=70" for i in range(3)]
    paths += [f"api/arithmetic?a=s0.{i}&b=s0.1&c=s0.2" for i in range(3)]
    paths += [f"api/forget/compare?id={fit}&maps={i}&z=s0.0,s0.1" for i in range(3)]
    paths += [f"api/channel?channel={i}&layer={layer}" for i in range(2) for layer in (0, -1)]
    paths += ["api/walk/strip?points=s0.0,s0.1&frames=4", "api/forget/layers", "api/layers", "api/filters"]
    alone = [http.get(path).content for path in paths]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(2):
            together = list(pool.map(lambda path: http.get(path).content, paths))
            assert [a == b for a, b in zip(alone, together, strict=True)] == [True] * len(paths)


def test_work_behind_the_requests_does_not_hold_them_up(http: Any, studio: Any) -> None:
    """While a job never ends, the slider's image comes."""
    import threading

    release = threading.Event()
    job = studio.session.jobs.ask("a long one", lambda job: release.wait(30))
    try:
        assert not job.done.is_set()
        assert http.get("api/walk", params={"points": "s0.0,s0.1", "t": 0.3}).status_code == 200
        assert not job.done.is_set()
    finally:
        release.set()
    assert job.done.wait(10)


def test_of_a_run_without_data(tiny_run: Any) -> None:
    """The pages that need none work; the others say what to add."""
    from starlette.testclient import TestClient

    from ganfeat.studio.app import create_app
    from ganfeat.studio.session import open_session

    session = open_session(tiny_run, device="cpu")
    with TestClient(create_app(session, port=80), base_url="http://localhost") as client:
        assert client.get("/api/run").json()["data"] is None
        assert client.get("/api/walk/strip?points=s0.0,s0.1").json()["memorisation"] is None
        for path in ("/api/features", "/api/features/sprite.png", "/api/neighbours?i=0", "/api/data/image.png?i=0"):
            answer = client.get(path)
            assert answer.status_code == 400
            assert "--data" in answer.json()["error"]
        found = ready(client, "/api/channel", layer=0, channel=0, k=2)
        assert found["of"] == "samples"
        (uri,) = client.get(f"/api/images?z={found['items'][0]['ref']}").json()["images"]
        assert len(uri) > 100
    session.close()
