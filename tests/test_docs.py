"""The numbers that the documents show are those of the committed results, and their links lead somewhere."""

import json
import re
from pathlib import Path
from statistics import fmean

import pytest

from ganfeat.health import BOUNDS, IN_A_ROW, LEAST_APART, LEAST_STEPS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]


def results(name):
    return json.loads((ROOT / "docs" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def cell(value):
    return f"{100 * value['mean']:.1f} ± {100 * value['ci95']:.1f}"


def rows(page):
    """Cells of every table row of a page, without emphasis."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    return [[c.strip(" *") for c in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def test_the_readme_shows_the_demos_result():
    accuracy = results("demo")["accuracy"]
    shown = {row[0]: row[1:] for row in rows("README.md")}
    names = {
        "raw_pixels": "raw pixels",
        "pca": "PCA",
        "random_init": "the same network, untrained",
        "ganfeat": "ganfeat",
    }
    for key, name in names.items():
        assert shown[name] == [cell(v) for v in accuracy[key].values()]


def test_the_readme_shows_the_folders_result():
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for curve in results("cifar-folder")["accuracy"].values():
        assert cell(curve["10"]) in text


def test_the_readmes_margins_are_the_demos():
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for margin in results("demo")["margin"].values():
        assert cell(margin["10"]) in text


def test_the_demo_beats_its_baselines_by_more_than_the_intervals():
    """Ten labels a class: the claim that the project stands on."""
    accuracy = {name: curve["10"] for name, curve in results("demo")["accuracy"].items()}
    ours = accuracy.pop("ganfeat")
    for theirs in accuracy.values():
        assert ours["mean"] - ours["ci95"] > theirs["mean"] + theirs["ci95"]
        assert ours["mean"] - 1.96 * ours["std"] > theirs["mean"] + 1.96 * theirs["std"]


@pytest.mark.parametrize("name", ["train_step", "extract"])
def test_the_page_on_speed_shows_the_benchmarks(name):
    shown = [row for row in rows("docs/speed.md")]
    for width, value in results(name)["results"].items():
        rate = value["images_per_second"]
        wanted = {
            width.split()[1],
            f"{rate['plain']:,.0f}",
            f"{rate['ganfeat']:,.0f}",
            f"{value['ratio']:.2f}",
            f"{100 * value['share_of_gemm']:.0f} %",
        }
        assert any(wanted <= set(row) for row in shown), (name, width)


@pytest.mark.parametrize("name", ["bigan_step", "bigan_step-2"])
def test_the_page_on_speed_shows_bigans_step(name):
    value = results(name)
    milliseconds = [f"{value['milliseconds_per_step'][k]:.1f}" for k in ("plain", "ganfeat")]
    assert [str(value["threads"]), *milliseconds, f"{value['ratio']:.2f}"] in [row[:4] for row in rows("docs/speed.md")]


@pytest.mark.parametrize("name", ["taps-mnist5k", "taps-cifar10"])
def test_the_page_on_features_shows_the_taps(name):
    shown = [c for row in rows("docs/features.md") for c in row]
    measured = results(name)["results"]
    for layer in ("all layers", "layer 0", "layer 1", "layer 2"):
        for at in ("conv", "norm", "activation"):
            for pooling in ("max", "avg"):
                for k in ("10", "50"):
                    assert cell(measured[f"trained, {layer}, {at}, {pooling}-pooled"][k]) in shown


SOLVERS = {"ganfeat": "LinearSVM", "LinearSVC primal": "LinearSVC, primal", "LinearSVC dual": "LinearSVC, dual"}


@pytest.mark.parametrize("name", ["svm-10k", "svm-50k", "svm-28672"])
def test_the_page_on_probes_shows_the_solvers(name):
    shown = rows("docs/probes.md")
    for case, solvers in results(name)["results"].items():
        size, C = case.split(", C=")
        n, p = map(int, size.split("x"))
        for solver, value in solvers.items():
            wanted = {f"{n:,} × {p:,}", C, SOLVERS[solver]}
            if value["seconds"] is not None:
                wanted |= {f"{value['seconds']:.1f}", f"{value['cpu_seconds']:.1f}", f"{value['peak_GiB']:.2f}"}
            if "times_slower_cpu" in value:
                wanted |= {f"{value['times_slower_cpu']:.1f} ×", f"{100 * value['answers_as_ours']:.2f} %"}
            assert any(wanted <= set(row) for row in shown), (case, solver)


@pytest.mark.parametrize("name", ["svm-10k", "svm-50k"])
def test_the_svm_is_ten_times_faster_at_an_objective_as_low(name):
    for solvers in results(name)["results"].values():
        ours = solvers.pop("ganfeat")
        assert ours["above_the_lowest_found"] < 1e-4
        for theirs in solvers.values():
            assert theirs["seconds"] is None or (theirs["times_slower_cpu"] >= 8 and theirs["answers_as_ours"] >= 0.999)


def test_the_page_on_probes_shows_cifar10():
    measured = results("dcgan-cifar10")
    shown = {row[0]: row[1:] for row in rows("docs/probes.md")}
    for name, entry in measured["results"].items():
        points = (entry["all labels"], entry["400 per class"])
        cells = [f"{100 * p['mean']:.1f} ± {100 * p['half_width']:.1f}" for p in points]
        assert shown[name] == [f"{entry['features']:,}", *cells], name


def test_the_page_on_encoders_shows_mnists_table():
    measured = results("bigan-mnist")
    shown = {row[0]: row[1:] for row in rows("docs/encoders.md")}
    for name, entry in measured["results"].items():
        seeds = list(entry["seeds"].values())
        trunk, output = ([100 * seed[at]["accuracy"] for seed in seeds if at in seed] for at in ("trunk", "output"))
        before = [100 * seed["trunk"]["untrained"]["accuracy"] for seed in seeds]
        gain = seeds[0]["trunk"]["above_untrained"]
        assert shown[name] == [
            str(entry["epochs"]),
            f"{entry['published']:.2f}" if entry["published"] else "",
            f"{fmean(trunk):.2f}",
            f"{fmean(output):.2f}" if output else "",
            f"{fmean(before):.2f}",
            f"{100 * gain['mean']:+.2f} ± {100 * gain['half_width']:.2f}",
        ], name
    for name, entry in measured["baselines"].items():
        assert any(row[0] == name and f"{100 * entry['accuracy']:.2f}" in row for row in rows("docs/encoders.md")), name


def test_the_page_on_encoders_shows_cifar10():
    shown = {row[0]: row[1:] for row in rows("docs/encoders.md")}
    for entry in results("cifar-bigan")["rows"]:
        assert shown[entry["name"]] == [f"{entry['features']:,}", *map(cell, entry["accuracy"].values())], entry["name"]


def test_the_page_on_health_shows_what_the_alarms_are_worth():
    measured, shown = results("collapse"), rows("docs/health.md")
    for name in ("all alarms", "coverage", "diversity"):
        entry = measured["test"][name]
        cells = []
        for word in ("detected", "false alarms"):
            low, high = (100 * end for end in entry[word]["interval"])
            cells += [f"{entry[word]['alarms']} of {entry[word]['runs']}", f"{low:.0f} to {high:.0f} %"]
        waited = entry["evaluations from collapse to alarm"]
        assert [name, *cells, f"{waited['median']:g}, {waited['most']}"] in shown, name
    for name, entry in measured["test"]["cases"].items():
        k = 8 if name.startswith("ring") else 10
        counts = [str(entry[key]) for key in ("runs", "collapsed", "healthy", "alarms")]
        assert [name, *counts, f"{k * min(entry['truth']):.1f} to {k * max(entry['truth']):.1f} of {k}"] in shown, name
    text = " ".join((ROOT / "docs/health.md").read_text(encoding="utf-8").split())
    good = measured["test"]["cases"]["ring, M-GAN with 8 generators"]["good"]
    assert f"with {100 * min(good):.0f} to {100 * max(good):.0f} % good samples" in text
    gap = measured["calibration"]["lowest three in a row, by run"]["coverage"]
    assert f"collapsed run is {100 * max(gap['collapsed']):.0f} %" in text
    assert f"healthy one {100 * min(gap['healthy']):.0f} %" in text
    cost = measured["cost"]
    evaluation, step = (f"{cost[f'{name}_cpu_seconds']:.2f} s" for name in ("evaluation", "step"))
    assert f"costs {evaluation} of CPU where a step costs {step}" in text
    assert f"are {100 * cost['share_of_a_training']:.1f} % of 3,000 steps" in text
    for name, entry in measured["test"]["measures"].items():
        aucs = ["" if auc is None else f"{auc:.2f}" for auc in (entry["auc"], *entry["auc by data"].values())]
        states = [f"{q[2]:.2f} ({q[1]:.2f} to {q[3]:.2f})" for q in (entry["collapsed"], entry["healthy"])]
        assert [f"`{name}`", *aucs, *states] in shown, name


def test_the_alarms_are_those_of_the_result_and_of_the_page():
    """Changed bounds need another benchmark."""
    rule = results("collapse")["rule"]
    assert rule["bounds"] == {b.name: {"low": b.low, "clear": b.clear} for b in BOUNDS}
    assert (rule["in_a_row"], rule["least_steps"], rule["least_apart"]) == (IN_A_ROW, LEAST_STEPS, LEAST_APART)
    shown = {row[0]: row[2:] for row in rows("docs/health.md") if len(row) == 4}
    for bound in BOUNDS:
        assert shown[bound.name] == [f"{bound.low:.0%}".replace("%", " %"), f"{bound.clear:.0%}".replace("%", " %")]


def test_alarms_find_nearly_all_collapses_and_hardly_ever_cry_wolf_at_hardly_any_cost():
    measured = results("collapse")
    found, false = (measured["test"]["all alarms"][word] for word in ("detected", "false alarms"))
    assert found["alarms"] >= 0.9 * found["runs"] and found["runs"] >= 10
    assert false["alarms"] <= 0.1 * false["runs"] and false["runs"] >= 10
    assert measured["cost"]["share_of_a_training"] < 0.03


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_results_say_how_they_were_made_and_name_no_private_folder():
    for path in sorted((ROOT / "docs" / "results").glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        assert content["command"] and content["machine"]["cpu"], path
        assert not re.search(r'"/(home|root|tmp|work)', path.read_text(encoding="utf-8")), path


def _over_seeds(point):
    return f"{100 * point['mean']:.2f} ± {100 * point['ci95']:.2f}"


@pytest.mark.parametrize("probe", ["softmax", "svm"])
def test_the_page_on_mgan_shows_the_table(probe):
    measured, shown = results("mgan-mnist"), rows("docs/mgan.md")
    for removed, row in measured["results"].items():
        cells = [removed]
        for which in ("discriminator", "classifier"):
            point = row[which][probe]
            cells += [f"{100 * row['published'][which]:.2f}", _over_seeds(point)]
            cells += [f"{100 * point['untrained']['mean']:.2f}"]
        assert [*cells, f"{row['published']['gap']:.2f}", _over_seeds(row["gap"][probe])] in shown, removed
    for name, entry in measured["baselines"].items():
        assert any(row[0] == name and row[2] == f"{100 * entry[probe]:.2f}" for row in shown), name
    text = " ".join((ROOT / "docs/mgan.md").read_text(encoding="utf-8").split())
    for key in ("from 0", "from 1"):
        found = measured["trend"][probe][key]
        assert f"rho = {found['spearman']:.2f}, p = {found['p']:.4f}" in text, key


def test_the_page_on_theory_shows_the_reports():
    networks = results("theory")["networks"].values()
    shown = {row[0]: row[1:] for row in rows("docs/theory.md")}
    for key, title in {key: claim["title"] for n in networks for key, claim in n["claims"].items()}.items():
        cells = []
        for network in networks:
            claim = network["claims"].get(key)
            if claim is None:
                cells.append("")
                continue
            part = claim["parts"][0]
            times, unit = (100, " %") if part["unit"] == "%" else (1, "")
            cells.append(f"{claim['verdict']}: {times * part['value']:.3g}{unit}")
        assert shown[title] == cells, title


def test_the_page_on_looking_inside_shows_what_directions_change():
    shown = [row for row in rows("docs/inside.md") if len(row) == 7]
    for name, found in results("digit-directions")["results"].items():
        for other, change in found["change by step"].items():
            wanted = [
                f"{change[step]['mean']:+.2f} ± {change[step]['ci95']:.2f}" for step in ("-1.0", "-0.5", "0.5", "1.0")
            ]
            assert any(row[:6] == [name, other, *wanted] for row in shown), (name, other)
        largest = found["change by a random direction"]["largest of 20, absolute"]
        assert any(row[:2] == [name, name] and row[6] == f"{largest:.2f}" for row in shown)


def test_directions_change_their_property_more_than_random_ones_and_in_order():
    """What the page says in words."""
    for name, found in results("digit-directions")["results"].items():
        means = [step["mean"] for step in found["change by step"][name].values()]
        assert means == sorted(means)
        assert min(-means[0], means[-1]) > found["change by a random direction"]["largest of 20, absolute"]


def test_the_page_on_looking_inside_shows_what_forgetting_took():
    def percent(value):
        return f"{100 * value['mean']:.0f} ± {100 * value['std']:.0f}"

    found = results("forget-patch")["results"]
    shown = [row for row in rows("docs/inside.md") if row[0] in found and len(row) == 8]
    assert len(shown) == 6
    values = {
        (layer, *(percent(d[who][what]) for what in ("patch gone", "digit kept") for who in ("found", "random")))
        for layer, of_layer in found.items()
        for d in of_layer["dropped"].values()
    }
    assert {(row[0], *row[2:6]) for row in shown} <= values


def gallery(name, verb):
    return results("gallery")["networks"][name]["verbs"][verb]


def test_the_gallery_shows_what_was_measured_of_walks():
    shown = {row[0]: row[1:] for row in rows("docs/gallery.md") if len(row) == 5}
    for name in results("gallery")["networks"]:
        verbs = results("gallery")["networks"][name]["verbs"]
        table = {row[0]: row[1:] for row in verbs.get("walk-scored", verbs["walk"])["table"]}
        assert table["sharp jumps"] == ["0", "0"]  # the page says so
        scores = table.get("memorisation score", ["", ""])
        assert shown[name] == [*table["largest step / median"], *scores]


def test_the_gallery_shows_what_was_counted_of_channels():
    shown = {row[0]: row[2:5] for row in rows("docs/gallery.md") if len(row) == 7}
    for name in ("digits", "cifar10", "svhn"):
        found = gallery(name, "saliency-scored")
        shares = [found["trained"]["class share"], found["untrained"]["class share"], found["chance"]["mean"]]
        assert shown[name] == [f"{100 * share:.1f}" for share in shares]


@pytest.mark.parametrize("verb", ["forget", "forget-deeper"])
def test_the_gallery_shows_what_was_forgotten(verb):
    found = next(row for row in gallery("svhn", verb)["table"] if "(shown)" in row[0])
    layer, of = {"forget": ("-2", 64), "forget-deeper": ("-3", 128)}[verb]
    wanted = [layer, f"{found[0].split()[0]} of {of}", found[2], found[4], found[5], found[6]]
    assert wanted in rows("docs/gallery.md")


def test_every_picture_of_the_gallery_is_shown_and_small():
    text = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "docs" / "images" / "gallery").iterdir()):
        assert path.stat().st_size < 420_000, path.name
        assert f"images/gallery/{path.name}" in text, path.name


def test_the_page_of_the_studio_shows_the_benchmark():
    shown = {row[0]: row[1:3] for row in rows("docs/studio.md") if len(row) == 3}
    for name, found in results("studio")["results"].items():
        if name in shown:
            assert shown[name] == [f"{found['median_ms']:.0f}", f"{found['p95_ms']:.0f}"]
    assert len(set(shown) & set(results("studio")["results"])) >= 6


def test_the_page_on_health_shows_the_collapse_that_passed():
    text = " ".join((ROOT / "docs" / "health.md").read_text(encoding="utf-8").split())
    worst = min(results("faces-collapse")["evaluations"], key=lambda record: record["coverage/pixels"])
    share, real = (round(100 * worst[key]) for key in ("coverage/pixels", "coverage/pixels_real"))
    assert (
        f"at {worst['epoch']:.0f} epochs, with {share} % of the cells covered where real images cover {real} %" in text
    )


def test_the_gallery_says_in_words_what_was_measured():
    text = " ".join((ROOT / "docs" / "gallery.md").read_text(encoding="utf-8").split())
    turn = [row[1] for row in gallery("faces", "arithmetic-turn")["table"][1:]]
    assert f"{turn[0]} lie on it in the right order, where 50 % is chance, and {turn[1]} of random regroupings" in text
    (near,) = [row for row in gallery("cifar10", "walk-scored")["table"] if row[0].startswith("nearer to")]
    assert f"{near[1]} are nearer to a training image" in text and f"and {near[2]} in features" in text


def shown_rates(run):
    return [f"{100 * run[rate]:.1f}" for rate in ("precision", "recall")]


def test_the_page_on_duplicates_shows_the_benchmark():
    found = results("duplicates")
    shown = rows("docs/duplicates.md")
    largest = {name: runs["100000"] for name, runs in found["methods"].items()}
    for kind in largest["features"]["kinds"]:
        wanted = [kind, *(f"{100 * largest[name]['kinds'][kind]['found']:.1f}" for name in ("autoencoder", "features"))]
        assert wanted in shown
    for name, runs in found["methods"].items():
        for size in ("12500", "50000", "100000"):
            run = runs[size]
            seconds = run["cpu seconds"]
            rates = shown_rates(run["dropped"]) + shown_rates(run["pairs"])
            assert [f"{int(size):,}", name, *rates, f"{seconds:.0f}", f"{1e3 * seconds / int(size):.2f}"] in shown
    names = {"mnist5k": "mnist5k, the other half", "MNIST": "MNIST's test images"}
    for control, found_in in found["controls"].items():
        for name in ("autoencoder", "features"):
            alone, mixed = found_in[name]["alone"]["dropped"], found_in[name]["with copies"]["dropped"]
            wanted = [names[control], f"{found_in['images']:,}", name, str(alone), *shown_rates(mixed)]
            assert wanted in shown


def test_the_page_on_duplicates_shows_how_it_was_tuned():
    tuned = results("duplicates")["tuning"]["sets"]
    shown = rows("docs/duplicates.md")
    for k, row in enumerate(tuned["CIFAR-10"]["autoencoder"]):
        if row["threshold"] == 0:
            scaled = "yes" if row["scaled"] else "no"
            settings = [f"{row['noise']:g}", f"{row['dropout']:g}", str(row["epochs"]), scaled]
            sets = ("CIFAR-10", "LFW", "mnist5k")
            rates = [", ".join(shown_rates(tuned[name]["autoencoder"][k]["dropped"])) for name in sets]
            assert [*settings, *rates] in shown
    for name, found in tuned.items():
        by_rule, *_ = found["rule"]
        rates = [", ".join(shown_rates(row["dropped"])) for row in (by_rule, *found["features"])]
        assert [name, f"{rates[0]} ({by_rule['least']:.2f})", *rates[1:]] in shown
    for k, row in enumerate(tuned["mixed"]["rule"]):
        ratio = "none" if row["ratio"] >= 1 else f"{row['ratio']:g}"
        rates = [", ".join(shown_rates(tuned[name]["rule"][k]["dropped"])) for name in tuned]
        assert [ratio, f"{row['copy']:g}", *rates] in shown


def test_the_page_on_duplicates_says_what_was_seen_of_wrong_drops():
    text = " ".join((ROOT / "docs" / "duplicates.md").read_text(encoding="utf-8").split())
    found = results("duplicates")
    wrong = {name: runs["100000"]["wrongly dropped"] for name, runs in found["methods"].items()}
    seen, same = found["judged by eye"]["features"].values()
    total = wrong["features"]["wrong drops"]
    assert f"{seen} of the {total} wrong drops of `features` were looked at, once and not blind: {same} are" in text
    seen, same = found["judged by eye"]["autoencoder"].values()
    assert f"{seen} of the {wrong['autoencoder']['wrong drops']} of `autoencoder`: {same} are" in text
    tiles = (wrong[name]["of"]["VOC"] for name in ("features", "autoencoder"))
    assert "{} and {} of their wrong drops are tiles of VOC".format(*tiles) in text


def test_searching_for_duplicates_takes_linear_time_and_drops_little_that_is_wrong():
    for name, precision, recall in (("autoencoder", 0.99, 0.3), ("features", 0.95, 0.8)):
        runs = results("duplicates")["methods"][name]
        assert runs["100000"]["cpu seconds"] < 1.2 * 8 * runs["12500"]["cpu seconds"]
        assert runs["100000"]["dropped"]["precision"] > precision and runs["100000"]["dropped"]["recall"] > recall
        for control in results("duplicates")["controls"].values():
            assert control[name]["alone"]["dropped"] < 0.01 * control["images"]
            assert control[name]["with copies"]["dropped"]["precision"] > 0.95


def test_the_page_on_faces_shows_the_benchmark():
    shown = rows("docs/faces.md")
    found = results("faces")
    for row in found["results"]:
        recall = [f"{100 * share:.0f}" for share in row["recall by side of the pasted crop"].values()]
        false, pace = str(row["false finds in all photographs"]), f"{row['cpu milliseconds a photograph']:.0f}"
        assert [row["cascade"], str(row["neighbours"]), *recall, false, pace] in shown
    held_out, row = found["held out"], found["held out"]["result"]
    recall = [f"{100 * share:.0f}" for share in row["recall by side of the pasted crop"].values()]
    false, pace = str(row["false finds in all photographs"]), f"{row['cpu milliseconds a photograph']:.0f}"
    assert [f"{row['cascade']}, held out", str(row["neighbours"]), *recall, false, pace] in shown
    text = " ".join((ROOT / "docs" / "faces.md").read_text(encoding="utf-8").split())
    number, inside, outside = found["photographs with persons"].values()
    assert f"{number} photographs with persons it finds {inside} faces inside of a person's box" in text
    assert f"and {outside} outside" in text
    low, high = (f"{100 * share:.1f}" for share in held_out["share of photographs with a false find, 95 %"])
    photographs = held_out["photographs without persons"]
    assert row["photographs with a false find"] == 1 and f"the other {photographs} (of" in text
    assert f"One of {photographs} photographs has a false find: the share is between {low} and {high} %" in text
