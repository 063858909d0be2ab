"""Measures of mode collapse against closed forms and references, and alarms that one noisy record does not raise."""

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency

from ganfeat import health
from ganfeat.health import Bound, Health

LOW = Bound("low", "value", "", low=0.3, clear=0.5, sign="{value:.0%} is below {bound:.0%}")


def counts(*values):
    return torch.tensor(values)


# ---------------------------------------------------------------------- measures


def test_points_on_a_line_have_the_mean_distance_of_their_pairs():
    """0, 1, 3: distances 1, 3, 2."""
    assert health.diversity(torch.tensor([[0.0], [1.0], [3.0]])) == pytest.approx(2.0)
    assert health.diversity(torch.ones(50, 7)) == 0.0
    assert health.diversity(torch.ones(1, 7)) == 0.0


def test_diversity_scales_with_the_points_and_does_not_move_with_them():
    points = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    assert health.diversity(5 * points + 2) == pytest.approx(5 * health.diversity(points), rel=1e-5)


def test_cells_are_those_of_the_nearest_centroid():
    centroids = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = torch.tensor([[1.0, 0.0], [9.0, 1.0], [8.0, 0.0], [-1.0, -1.0]])
    assert health.sizes_of_cells(points, centroids).tolist() == [2, 2, 0]


def test_a_cell_is_reached_from_a_quarter_of_its_share():
    real = counts(40, 40, 40, 40)
    assert health.coverage(real, real) == 1.0
    assert health.coverage(real, counts(160, 0, 0, 0)) == 0.25
    assert health.coverage(real, counts(130, 10, 10, 10)) == 1.0
    assert health.coverage(real, counts(131, 10, 10, 9)) == 0.75
    assert health.coverage(real, 7 * counts(131, 10, 10, 9)) == 0.75  # of other totals
    assert health.coverage(counts(10, 0), counts(5, 5)) == 1.0  # a cell without real images is nobody's to reach


def test_different_bins_are_those_of_a_test_of_two_proportions():
    """The square of its z is the chi-squared of the 2 x 2 table without continuity correction."""
    real, drawn = counts(30, 50, 15, 5), counts(60, 90, 30, 70)
    table = [[[r, 100 - r], [d, 250 - d]] for r, d in zip(real.tolist(), drawn.tolist(), strict=True)]
    expected = np.mean([chi2_contingency(t, correction=False).pvalue < 0.05 for t in table])
    assert health.different_bins(real, drawn) == expected > 0
    assert health.different_bins(real, real) == 0.0
    assert health.different_bins(counts(96, 2, 2), counts(250, 0, 0)) == 1.0  # 2 of 100 against 0 of 250: z 2.2
    assert health.different_bins(counts(98, 1, 1), counts(250, 0, 0)) == pytest.approx(1 / 3)  # 1 of 100: z 1.6


def test_two_draws_of_one_distribution_differ_in_about_a_twentieth_of_the_bins():
    shares = np.full(20, 1 / 20)
    generator = np.random.default_rng(0)
    draws = torch.from_numpy(generator.multinomial(1000, shares, size=(200, 2)))
    mean = np.mean([health.different_bins(a, b) for a, b in draws])
    assert 0.03 < mean < 0.07


def test_filters_that_follow_one_mode_are_found_either_way_up():
    generator = torch.Generator().manual_seed(0)
    mode = torch.randn(500, 1, generator=generator)
    own = torch.randn(500, 6, generator=generator)
    signs = torch.tensor([[1.0, -2.0, 3.0, -0.5]])
    share, level = health.one_mode(torch.cat([mode * signs + 7, own], dim=1))
    assert share == pytest.approx(0.4)
    assert level == pytest.approx(float((mode * signs + 7).mean()), abs=1e-4)
    assert health.one_mode(own) == (0.0, 0.0)
    assert health.one_mode(mode.repeat(1, 5))[0] == 1.0


def test_filters_that_are_constant_follow_nothing():
    generator = torch.Generator().manual_seed(0)
    mode = torch.randn(100, 1, generator=generator)
    share, _ = health.one_mode(torch.cat([mode, -mode, torch.zeros(100, 8)], dim=1))
    assert share == 1.0
    assert health.one_mode(torch.ones(100, 8)) == (0.0, 0.0)


def test_an_oscillation_alternates_and_a_trend_does_not():
    assert health.alternation([3, 1, 3, 1, 3, 1]) == 1.0
    assert health.alternation([1, 2, 4, 7]) == 0.0
    assert health.alternation([1, 1, 1, 1]) == health.alternation([1, 2]) == health.alternation([]) == 0.0
    walk = np.random.default_rng(0).standard_normal(4000).cumsum()
    assert health.alternation(walk.tolist()) == pytest.approx(0.5, abs=0.03)


# ---------------------------------------------------------------------- alarms


def records(values, first=1000, every=100):
    return [{"step": first + every * i, "epoch": 1.0 + i, "value": v} for i, v in enumerate(values)]


def alarms(values, **where):
    return [alarm.step for alarm in Health.of(records(values, **where), [LOW]).raised]


def test_an_alarm_goes_up_at_the_third_in_a_row():
    assert alarms([0.9, 0.1, 0.1, 0.1, 0.1]) == [1300]
    assert alarms([0.1, 0.1, 0.9, 0.1, 0.1]) == []
    assert alarms([0.3, 0.3, 0.3]) == []  # the bound itself is not below it


def test_it_goes_down_after_as_many_above_the_higher_bound():
    up = [0.1] * 3
    assert Health.of(records([*up, 0.4, 0.4, 0.4, 0.4]), [LOW]).up  # between the bounds
    assert Health.of(records([*up, 0.6, 0.6, 0.4, 0.6]), [LOW]).up
    down = Health.of(records([*up, 0.6, 0.6, 0.6]), [LOW])
    assert not down.up and len(down.raised) == 1
    assert alarms([*up, 0.6, 0.6, 0.6, *up]) == [1200, 1800]


def test_the_first_steps_do_not_count():
    assert alarms([0.1] * 5, first=0, every=health.LEAST_STEPS // 3) == []
    assert alarms([0.1] * 6, first=0, every=health.LEAST_STEPS // 3) == [health.LEAST_STEPS // 3 * 5]


def test_evaluations_in_short_succession_do_not_all_count():
    """10 steps apart: those of 1000, 1090 and 1180 do."""
    assert alarms([0.1] * 100, every=10) == [1180]
    assert alarms([0.1] * 18, every=10) == []


def test_steps_go_on_where_another_fit_begins_at_zero():
    """As partial_fit's do: one evaluation a call."""
    for steps in ((50, 150), (150,)):
        reader, raised = Health([LOW]), []
        for call in range(6):
            for step in steps:
                if reader.read({"step": step, "epoch": 1.0, **({"value": 0.1} if step == 150 else {})}):
                    raised.append(call)
        assert raised == [3]  # 150, 300, 450 and 600 steps: three from the 300th on


def test_records_without_the_number_count_neither_way():
    some = records([0.1, 0.1, 0.1])
    others = [{"step": 1050, "epoch": 1.5}, {"step": 1150, "epoch": 2.5, "loss/generator": 1.0}]
    mixed = sorted([*some, *others], key=lambda r: r["step"])
    assert [a.step for a in Health.of(mixed, [LOW]).raised] == [1200]
    assert Health.of(others).verdict() == "not measured"


def test_reading_one_by_one_gives_what_the_history_gives():
    values = np.random.default_rng(3).uniform(0, 0.8, 60).tolist()
    whole = Health.of(records(values), [LOW])
    reader, raised = Health([LOW]), []
    for record in records(values):
        raised += reader.read(record)
    assert raised == reader.raised == whole.raised
    assert reader.up == whole.up and reader.summary() == whole.summary()


def test_news_are_given_once_and_not_of_an_alarm_that_went_down():
    reader, given = Health([LOW]), []
    for record in records([0.1] * 5 + [0.9] * 3 + [0.1] * 3):
        reader.read(record)
        given += [alarm.step for alarm in reader.news()]
    assert given == [1200, 2000]
    assert Health.of(records([0.1] * 3 + [0.9] * 3), [LOW]).news() == []  # a history in which it is over
    assert [a.step for a in Health.of(records([0.1] * 5), [LOW]).news()] == [1200]


def test_a_message_names_the_number_the_bound_and_a_remedy():
    (alarm,) = Health.of(records([0.2, 0.2, 0.123]), [LOW]).raised
    assert "epoch 3.0: 12% is below 30%, 3 evaluations in a row" in alarm.message
    assert "learning_rate" in alarm.message and "collapse" in alarm.message
    assert (alarm.value, alarm.bound) == (0.123, 0.3)


def test_coverage_is_told_against_what_real_images_reach():
    (bound,) = [b for b in health.BOUNDS if b.name == "coverage"]
    assert bound.value({"coverage/pixels": 0.4, "coverage/pixels_real": 0.8}) == 0.5
    assert bound.value({"coverage/pixels": 0.4}) is None
    assert bound.value({"coverage/pixels": 0.4, "coverage/pixels_real": 0.0}) is None


def test_a_verdict_in_words():
    high = [{**r, "diversity/pixels": 0.9} for r in records([1] * 3)]
    assert Health.of(high).verdict() == "no alarm (diversity 90%)"
    low = [{**r, "diversity/pixels": 0.01} for r in records([1] * 3)]
    assert Health.of(low).verdict() == "diversity alarm since epoch 3.0 (diversity 1%)"
    assert Health.of([*low, *({**r, "step": r["step"] + 1000} for r in high)]).verdict() == (
        "no alarm, 1 that went down again (diversity 90%)"
    )
