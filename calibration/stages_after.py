"""Stages after the fit: the posterior, what it predicts, figures held out, and other models of the same figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.chapter import Block, Bullets, Chapter, Heading, Paragraph, Rows, rows_of
from calibration.fit import Fit
from calibration.fit_study import HoldingOut
from calibration.landscape import is_relative
from calibration.stages_family import leaves_region_out, left_out
from calibration.statistics import Floats
from calibration.study_work import Work, first, joined
from calibration.words import cell, counted, fixed, listed, quoted, span_of
from sd_cluster.look import sentence_case, unit_label

if TYPE_CHECKING:
    import pandas as pd

    from calibration.forecasts import Forecast
    from calibration.posterior import Posterior
    from calibration.validation import Split, Validation

MOST = 14
"""Sentences of one kind that the report prints."""
CHARTS = 12
"""Unknowns that one figure shows."""
WIDE = 0.95
"""Level of intervals where no profile sets another."""


def sample_posterior(work: Work) -> Chapter:
    """Draw from the posterior, judge the draws, and set three kinds of intervals side by side."""
    from calibration.study_figures import draw_intervals, draw_marginals, draw_traces

    posterior, drawing = work.posterior, work.study.drawing
    if posterior is None or drawing is None:
        text = "The study leaves the posterior out: bands below come from a Laplace approximation, reweighed."
        return Chapter("posterior", "", (Paragraph(text),))
    summary = posterior.summary()
    work.table(summary.reset_index(), "posterior")
    names = [one.name for one in work.fit.estimates]
    count = int(posterior.log_density.size)
    sampler = str(posterior.settings.get("sampler", drawing.method))
    level = float(work.chapters["identifiability"].numbers.get("level", WIDE))
    intervals = interval_table(work, posterior, names, level)
    blocks: list[Block] = [
        Paragraph(
            f"{counted(count, 'draw')} of {counted(len(posterior.log_density), 'chain')} ({sampler}, seed "
            f"{work.study.seed}) from the posterior of all unknowns together, each chain after {drawing.tune} draws of "
            "tuning and begun around the mode of the posterior."
        ),
        Bullets(tuple(one.text for one in posterior.verdicts)),
        _summary(summary),
        work.draw(
            draw_marginals(posterior, work.objective, names[:CHARTS]), "posterior",
            "Posterior draws (bars) and prior (line) of each parameter.",
        ),
        work.draw(draw_traces(posterior, names[:9]), "traces", "The draws in the order they came, by chain."),
        Heading("Three ways to an interval"),
        Paragraph(
            "Curvature takes the payoff for a parabola at the best point, a profile follows it as it is, the posterior "
            "weighs all that is possible by prior and data. Where the three agree, any of them may be quoted; where "
            "not, the estimate by itself says little."
        ),
        _intervals(intervals, level),
        work.draw(
            draw_intervals(_shares(work, intervals), level), "intervals",
            "Intervals side by side, each placed within its prior: from 0 to 100 % means that the figures tell "
            "nothing.",
        ),
        *_left_out(work, posterior),
    ]  # fmt: skip
    numbers = {
        "good": posterior.good, "draws": count, "divergences": posterior.divergences,
        "intervals": {name: posterior.interval(name, WIDE) for name in names},
    }  # fmt: skip
    return Chapter("posterior", "", tuple(blocks), numbers)


def interval_table(
    work: Work, posterior: Posterior, names: list[str], level: float
) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Low, middle and high by curvature, profile and posterior, in each unknown's own unit; written as a table too."""
    import pandas as pd
    from scipy.stats import norm

    fit, wide = work.fit, float(norm.ppf(0.5 + 0.5 * level))
    profiles = work.chapters["identifiability"].numbers.get("profiles", {})
    found: dict[str, dict[str, tuple[float, float, float]]] = {}
    for one in fit.estimates:
        if one.name not in names:
            continue
        some: dict[str, tuple[float, float, float]] = {}
        if one.identified and not one.bound and np.isfinite(one.error):
            by = np.exp(wide * one.error / abs(one.value)) if is_relative(work.objective, one.name) else np.nan
            ends = (one.value / by, one.value * by) if np.isfinite(by) else (
                one.value - wide * one.error, one.value + wide * one.error
            )  # fmt: skip
            some["curvature"] = (float(ends[0]), one.value, float(ends[1]))
        if one.name in profiles:
            low, high = (np.nan if end is None else float(end) for end in profiles[one.name][:2])
            some["profile"] = (low, one.value, high)
        low, high = posterior.interval(one.name, level)
        some["posterior"] = (low, float(np.median(posterior[one.name])), high)
        found[one.name] = some
    rows = [(name, kind, *ends, level) for name, some in found.items() for kind, ends in some.items()]
    work.table(pd.DataFrame(rows, columns=["unknown", "kind", "low", "middle", "high", "level"]), "intervals")
    return found


def _shares(
    work: Work, intervals: Mapping[str, Mapping[str, tuple[float, float, float]]]
) -> dict[str, dict[str, tuple[float, float, float]]]:
    """The same as shares of each prior below; an end that is open is an end of the prior."""
    shown: dict[str, dict[str, tuple[float, float, float]]] = {}
    for name, some in list(intervals.items())[:24]:
        prior = work.objective.priors[name]
        if name.endswith("]") and f"mean of {name.rpartition(' [')[0]}" in work.objective.names:
            continue
        shown[name] = {}
        for kind, ends in some.items():
            inside = np.clip(np.nan_to_num(ends, nan=np.inf), prior.low, prior.high)
            inside[0] = prior.low if not np.isfinite(ends[0]) else inside[0]
            shares = [
                0.0 if end <= prior.low else 1.0 if end >= prior.high else float(prior.share(prior.place(end)))
                for end in inside
            ]
            shown[name][kind] = (shares[0], shares[1], shares[2])
    return shown


def _intervals(intervals: Mapping[str, Mapping[str, tuple[float, float, float]]], level: float) -> Rows:
    kinds = ("curvature", "profile", "posterior")
    heads = (("parameter", "left"), ("best point", "right"), *((kind, "right") for kind in kinds),
             ("posterior median", "right"))  # fmt: skip
    body = []
    for name, some in list(intervals.items())[:60]:
        best = some.get("curvature") or some.get("profile")
        cells = [span_of(some[kind][0], some[kind][2]) if kind in some else "–" for kind in kinds]
        body.append((name, cell(best[1]) if best else "–", *cells, cell(some["posterior"][1])))
    return rows_of(heads, body, f"Intervals of {100 * level:g} % by curvature, profile and posterior.")


def _summary(summary: Any) -> Rows:
    heads = (("unknown", "left"), ("mean", "right"), ("sd", "right"), ("median", "right"), ("5 to 95 %", "right"),
             ("R\N{NON-BREAKING HYPHEN}hat", "right"), ("ESS bulk", "right"), ("ESS tail", "right"))  # fmt: skip
    body = [
        (
            name, cell(row["mean"]), cell(row["sd"]), cell(row["median"]), span_of(row["q5"], row["q95"]),
            fixed(row["r_hat"], 3), fixed(row["ess_bulk"], 0), fixed(row["ess_tail"], 0),
        )
        for name, row in summary.iterrows()
    ]  # fmt: skip
    caption = "The posterior. R-hat should be below 1.01; ESS is the number of draws that these are worth."
    return rows_of(heads, body[:60], caption)


def _left_out(work: Work, posterior: Posterior) -> list[Block]:
    """Leave-one-out: how well each figure is foreseen by the others."""
    from calibration.comparison import log_densities

    densities, labels = log_densities(work.objective, posterior.places)
    found = posterior.loo(densities, labels=labels)
    import pandas as pd

    table = pd.DataFrame({"figure": labels, "elpd": found.by_figure, "pareto_k": found.pareto_k})
    work.table(table, "leave-one-out")
    order = np.argsort(found.by_figure)[:3]
    worst = listed([labels[int(k)] for k in order])
    text = (
        f"Leaving one figure out at a time, the expected log predictive density is {fixed(found.elpd, 1)} ± "
        f"{found.error:.1f} (Pareto-smoothed importance sampling), with {found.effective:.1f} effective unknowns. "
        f"Least foreseen: {worst}."
    )
    return [Heading("Leave-one-out"), Paragraph(text), Bullets(tuple(one.text for one in found.verdicts))]


def predict_on(work: Work) -> Chapter:
    """See whether the fitted model makes figures like the observed ones, and let it run on."""
    from calibration.checks import check_predictions
    from calibration.forecasts import predict
    from calibration.study_figures import draw_predictions
    from calibration.validation_figures import draw_checks

    study, outlook = work.study, work.study.outlook
    checks = check_predictions(work.objective, work.source, seed=study.seed, draws=outlook.draws)
    work.table(checks.frame(), "predictive-checks")
    blocks: list[Block] = [
        Paragraph(
            "Replicates of the figures were drawn from the fitted model with all its doubt, noise included. "
            + checks.sentences[0]
        )
    ]
    if len(checks.sentences) > 1:
        blocks.append(Bullets(first(checks.sentences[1:], MOST, "checks")))
    for region in work.regions:
        caption = "Statistics of replicates (bars) and of the figures (line), after the fit."
        figure = draw_checks(checks, region=region)
        blocks.append(work.draw(figure, work.named("predictive-checks", region), work.of_region(caption, region)))
    forecasts: dict[str, Forecast] = {}
    for number, one in enumerate(work.objective.likelihoods):
        years = _years(one, outlook.end)
        forecasts[one.region] = predict(
            work.objective, work.source, years, seed=study.seed, region=number, draws=outlook.draws
        )
    work.table(joined({name: one.frame() for name, one in forecasts.items()}), "predictions")
    shown = list(forecasts.items())
    blocks += [Heading(f"Predictions to {outlook.end:.0f}"), Paragraph(_outlook_words(work, shown[0][1]))]
    blocks.append(_predictions(work, forecasts))
    for region in work.regions:
        series = work.objective.likelihoods[[one.name for one in study.regions].index(region)].series
        caption = (
            "Predictions with 95 % bands: of what the model says (dark), and of figures with their noise (light). "
            "Levels and policies stay as they are."
        )
        figure = draw_predictions(forecasts[region], series, list(series)[:9])
        blocks.append(work.draw(figure, work.named("predictions", region), work.of_region(caption, region)))
    if outlook.variables:
        blocks += _variables(work)
    return Chapter("prediction", "", tuple(blocks), {"unlike": sum(not one.good for one in checks.checks)})


def _years(one: Any, end: float) -> list[float]:
    """Whole years from the first figure of all series to the end, and those of the figures."""
    start = max(float(series.years[0]) for series in one.series.values())
    begin = min(float(series.years[0]) for series in one.series.values())
    early = one.measurement.times({name: np.array([begin]) for name in one.series})
    begin = begin if early[0] >= one.horizon.start else start
    return [float(year) for year in np.arange(np.ceil(begin), np.floor(end) + 1.0)]


def _outlook_words(work: Work, forecast: Forecast) -> str:
    return (
        f"{forecast.text} With levers, prices and policies as they are, the bands hold what follows from model, "
        "figures and priors; what neither of them knows of, such as a slump or a new law, is not in them."
    )


def _predictions(work: Work, forecasts: Mapping[str, Forecast]) -> Rows:
    many = len(forecasts) > 1
    heads = (("series", "left"), ("unit", "left"), ("median", "right"), ("model, 95 %", "right"),
             ("figures, 95 %", "right"))  # fmt: skip
    body = []
    for region, one in forecasts.items():
        for name, made in one.series.items():
            at = len(made.years) - 1
            bands = [made.interval(0.95, noise=noise) for noise in (False, True)]
            cells = [span_of(float(low[at]), float(high[at])) for low, high in bands]
            shown = f"{name} [{region}]" if many else name
            body.append((shown, unit_label(made.unit), cell(float(made.point[at])), *cells))
            last = made.years[at]
    return rows_of(heads, body[:60], f"What the model says of {last:.0f}, without and with the noise of a figure.")


def _variables(work: Work) -> list[Block]:
    """Other variables of the model, under draws of the unknowns, for the first region."""
    import sd_cluster as sd
    from calibration.forecasts import places_from
    from sd_cluster.charts import fans
    from sd_cluster.draws import Draws

    study, one = work.study, work.objective.likelihoods[0]
    places, origin = places_from(work.objective, work.source, min(study.outlook.draws, 400), study.seed)
    values = work.objective.of_region(places, 0)
    draws = Draws.of({name: values[:, k].tolist() for k, name in enumerate(one.free)})
    found = sd.sweep(
        one.model, draws, outputs=study.outlook.variables, horizon=(one.horizon.start, study.outlook.end),
        scenario=one.scenario, save=1.0, threads=work.workers,
    )  # fmt: skip
    good = {name: np.asarray(found[name])[found.ok] for name in found.names}
    units = dict(zip(found.names, found.units, strict=True))
    tables = {name: _quantiles(found.times, runs, units[name]) for name, runs in good.items()}
    work.table(joined(tables, "variable"), "variables")
    figure = fans(found.times, good, units=units, columns=min(3, len(good)))
    end = found.times[-1]
    told = [
        f"{name} {span_of(*(float(x) for x in np.quantile(runs[:, -1], [0.025, 0.975])))}"
        for name, runs in good.items()
    ]
    text = f"Of variables that no series measures, {end:.0f} would see, at 95 %: {listed(told)} ({origin})."
    caption = f"What nobody counts, under draws of the unknowns: bands and median, {one.region}."
    return [Heading("What is not measured"), Paragraph(text), work.draw(figure, "variables", caption)]


def _quantiles(times: Floats, runs: Floats, unit: str) -> pd.DataFrame:
    """Quantiles of runs at each time by itself."""
    import pandas as pd

    shares = (0.025, 0.1, 0.5, 0.9, 0.975)
    columns = {f"q{100 * share:g}": np.quantile(runs, share, axis=0) for share in shares}
    return pd.DataFrame({"time": times, "unit": unit, **columns})


def validate_held_out(work: Work) -> Chapter:
    """Fit a part of the figures, forecast the rest, and hold the forecast against naive ones."""
    from calibration.validation_figures import draw_agreement, draw_calibration, draw_forecast

    split, holding = work.split, work.study.holding
    if split is None or holding is None:
        text = (
            "Nothing was held out, so nothing here shows that the model foresees figures it has not seen. Name a last "
            "year or a region under [hold_out] in the study file to find out."
        )
        return Chapter("validation", "", (Paragraph(text),))
    found, text = left_out(work) if leaves_region_out(work) else _forecast(work, split, holding)
    work.table(found.frame(), "validation")
    blocks: list[Block] = [
        Paragraph(f"{text} Bands come from the {found.origin}."),
        Bullets(first(_plainly(found), 2 * MOST, "sentences")),
        _skill(found),
    ]
    shown = list(dict.fromkeys(one.region for one in found.series))[: len(work.regions)]
    for region in shown:
        some = [one.indicator for one in found.series if one.region == region][:6]
        caption = "Forecast of figures held out (filled), with naive forecasts of the same years (broken lines)."
        figure = draw_forecast(found, some, region=region)
        blocks.append(work.draw(figure, work.named("forecast", region), work.of_region(caption, region)))
    caption = "Where figures held out stand among the draws, and how many each band holds against what it promises."
    blocks.append(work.draw(draw_calibration(found.places), "calibration", caption))
    caption = "Observed against predicted figures, known and held out."
    blocks.append(work.draw(draw_agreement(found, region=shown[0]), "agreement", work.of_region(caption, shown[0])))
    return Chapter("validation", "", tuple(blocks), _skill_numbers(found))


def _forecast(work: Work, split: Split, holding: HoldingOut) -> tuple[Validation, str]:
    """The figures held out, forecast by a fit of the others; and how that was done, in words."""
    from calibration.validation import validate

    fit = work.trained
    drawn = work.sampled(fit, "training") if holding.bands == "posterior" else None
    source = drawn if drawn is not None else work.laplace(fit, work.trained_family)
    found = validate(fit, split, source=source, draws=holding.draws, seed=work.study.seed)
    fit.save(work.folder / "training-fit.json")
    what = f"figures after {split.last:.0f}" if split.last is not None else f"all figures of {split.held[0].region}"
    count = sum(len(one.years) for one in found.series)
    text = (
        f"The model was fitted again without {what}, and then asked for them: {counted(count, 'figure')} in "
        f"{counted(len(found.series), 'series', 'series')}. Naive forecasts "
        + ("of the same years had the same past." if split.last is not None else "are the middle of the other regions.")
    )
    return found, text


def _plainly(found: Validation) -> list[str]:
    """What came out, without what is said elsewhere: where bands come from, and the name of a single region."""
    regions = [one.region for one in found.forecasts]
    told = [one for one in found.sentences if one not in [forecast.text for forecast in found.forecasts]]
    if len(regions) > 1:
        return told
    return [sentence_case(one.removeprefix(f"{regions[0]}: ")) for one in told]


def _skill_numbers(found: Validation) -> dict[str, Any]:
    won = [one for one in found.series if not one.rivals or one.model.error <= one.rivals[0].error]
    inside = {
        f"{100 * level:g}": sum(one.model.inside[k] for one in found.series) for k, level in enumerate(found.levels)
    }
    return {
        "won": [one.indicator for one in won], "series": [one.indicator for one in found.series],
        "figures": sum(len(one.years) for one in found.series), "inside": inside, "last": found.last,
        "lost_to": {one.indicator: one.rivals[0].method for one in found.series if one not in won},
    }  # fmt: skip


def _skill(found: Validation) -> Rows:
    many = len({one.region for one in found.series}) > 1
    levels = [f"inside {100 * level:g} %" for level in found.levels]
    heads = (("series", "left"), ("method", "left keep"), ("MAPE, %", "right"), ("RMSE", "right"), ("MASE", "right"),
             ("CRPS", "right"), *((name, "right") for name in levels))  # fmt: skip
    body = []
    for held in found.series:
        for number, one in enumerate(held.scores):
            name = f"{held.indicator} [{held.region}]" if many else held.indicator
            cells = [fixed(one.mape, 1), cell(one.rmse), fixed(one.mase, 2), cell(one.crps)]
            inside = ["–" if one.refused else f"{count} of {len(held.years)}" for count in one.inside]
            body.append((name if number == 0 else "", one.method, *cells, *inside))
    caption = (
        "Errors of forecasts: mean absolute error in per cent, root mean square error, mean absolute error over that "
        "of the last value a year ahead in the past, continuous ranked probability score, and figures inside each band."
    )
    return rows_of(heads, body[:80], caption)


def compare_models(work: Work) -> Chapter:
    """Set other models of the same figures beside this one."""
    from calibration.comparison import compare

    alternatives = work.study.alternatives
    if not alternatives:
        text = "The study names no other model of the same figures to compare with."
        return Chapter("comparison", "", (Paragraph(text),))
    how = work.study.searching
    fits: dict[str, Fit] = {work.study.name: work.fit}
    for one in alternatives:
        study = work.study.of(one)
        fits[one.name] = work.searched(study, study.objective(), how, "alternative")
    found = compare(fits, "aicc")
    work.table(found.frame(), "comparison")
    heads = (("model", "left"), ("unknowns", "right"), ("log-likelihood", "right"), ("AICc", "right"),
             ("behind by", "right"), ("weight", "right"))  # fmt: skip
    body = [
        (
            one.name, f"{one.unknowns:.0f}", fixed(one.log_likelihood, 1), fixed(one.aicc, 1), fixed(one.difference, 1),
            fixed(one.weight, 2),
        )
        for one in found.candidates
    ]  # fmt: skip
    blocks: list[Block] = [
        Paragraph(
            f"{counted(len(alternatives), 'other model')} of the same figures, fitted in the same way: "
            f"{listed(quoted([one.name for one in alternatives]))}."
        ),
        Bullets(found.sentences),
        rows_of(heads, body, "Models of the same figures, by AICc; less than about 4 apart is no difference."),
    ]
    return Chapter("comparison", "", tuple(blocks), {"best": found.candidates[0].name, "same": found.same})
