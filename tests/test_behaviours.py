"""The reference behaviours of `collective_learning`, each with its numbers; docs/behaviours.md shows their figures."""

import numpy as np
import pytest

import sd_cluster as sd

START = 1980.0
BASE, FIRMS, TALENT, TRUST = "shared knowledge base", "member firms", "talent pool", "trust"
KNOWLEDGE_FLOWS = ("transfer", "conversion", "achievement", "own learning", "newcomer knowledge", "duplication")
LEVERS = (
    "self learning",
    "cooperative learning",
    "cooperative competition",
    "positioning",
    "learning atmosphere",
    "learning culture development",
    "external learning links",
    "knowledge services",
    "training",
    "mutual exchange",
    "finance",
    "talent flow",
    "derivation support",
    "infrastructure investment",
    "bridging to knowledge centres",
)
CUT_OFF = dict.fromkeys(
    ("external learning links", "bridging to knowledge centres", "knowledge services", "least link", "entry potential"),
    0.0,
)


@pytest.fixture(scope="module")
def model():
    return sd.load("collective_learning")


def run(model, changes=None, years=60.0, save=1.0):
    return sd.simulate(model, sd.Scenario("test", changes or {}), horizon=(START, START + years), save=save)


def final(model, changes=None, years=200.0, of=BASE):
    return float(run(model, changes, years, save=years)[of][-1])


def all_levers(value):
    return dict.fromkeys(LEVERS, value)


def test_the_fifteen_levers_run_from_none_to_full(model):
    for lever in LEVERS:
        parameter = model.parameters[lever]
        assert (parameter.low, parameter.high, parameter.units) == (0.0, 1.0, "dmnl")


def test_every_variable_has_units_and_a_note_and_every_parameter_a_range(model):
    for equation in model.equations:
        assert equation.units, equation.name
        assert equation.note, equation.name
    for parameter in model.parameters.values():
        if parameter.name not in {"FINAL TIME", "INITIAL TIME", "TIME STEP", "SAVEPER"}:
            assert parameter.low is not None, parameter.name
            assert parameter.high is not None, parameter.name
            assert parameter.low <= parameter.value <= parameter.high, parameter.name


def test_1_take_off_grows_in_an_s_and_levels_off(model):
    grown = run(model, years=200.0)
    for name in (BASE, FIRMS, TALENT):
        growth = np.diff(grown[name])
        fastest = int(np.argmax(growth))
        assert 10 <= fastest <= 45, f"{name} grows fastest in year {fastest}"
        assert growth[0] < 0.5 * growth[fastest]
        assert abs(growth[150:]).max() < 0.01 * growth[fastest], f"{name} has not levelled off"
    assert grown[FIRMS][-1] == pytest.approx(472.6, rel=0.01)
    assert grown[FIRMS][-1] > 25 * grown[FIRMS][0]
    assert grown[BASE].max() < 1.1 * grown[BASE][-1]


def test_2_path_dependence_has_a_threshold_of_initial_trust(model):
    low, high = 0.2, 0.6
    assert final(model, {"initial trust": low}) < 500
    assert final(model, {"initial trust": high}) > 1000
    while high - low > 0.002:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if final(model, {"initial trust": middle}) > 800 else (middle, high)
    assert 0.5 * (low + high) == pytest.approx(0.405, abs=0.005)


def test_2_the_threshold_of_trust_falls_as_culture_rises(model):
    outcomes = {
        (trust, culture): final(model, {"initial trust": trust, "initial learning culture": culture}) > 800
        for trust in (0.05, 0.4, 0.95)
        for culture in (0.1, 0.5, 0.9)
    }
    assert not any(outcomes[trust, 0.1] for trust in (0.05, 0.4, 0.95))
    assert [outcomes[trust, 0.5] for trust in (0.05, 0.4, 0.95)] == [False, True, True]
    assert all(outcomes[trust, 0.9] for trust in (0.05, 0.4, 0.95))


def steady_state(model, guess):
    """A state at rest near a guess, and the eigenvalues of the exact Jacobian there."""
    from scipy.optimize import root

    from sd_cluster.kernel import compile_jacobian, compile_model

    kernel, jacobian = compile_model(model), compile_jacobian(model)
    p = kernel.vector({})
    kernel.constants(p)
    scale = np.maximum(np.abs(guess), 1e-3)

    def flows(x):
        dy = [0.0] * len(x)
        kernel.rates(START, START, (x * scale).tolist(), p, dy)
        return np.array(dy) / scale

    found = root(flows, guess / scale, tol=1e-12)
    assert np.abs(found.fun).max() < 1e-10, found.message  # so much of itself no stock changes in a year
    state = found.x * scale
    values = np.linalg.eigvals(jacobian(START, START, state.tolist(), p))
    return dict(zip(kernel.stocks, state, strict=True)), values


def test_2_two_stable_steady_states_and_a_saddle_between_them(model):
    def settle(trust):
        end = run(model, {"initial trust": trust}, years=400.0, save=400.0)
        return np.array([end[name][-1] for name in model.stocks])

    high, low = settle(0.5), settle(0.35)
    high_state, high_roots = steady_state(model, high)
    low_state, low_roots = steady_state(model, low)
    assert high_state[FIRMS] == pytest.approx(472.6, rel=0.01)
    assert low_state[FIRMS] == pytest.approx(50.1, rel=0.02)
    assert high_roots.real.max() < 0
    assert low_roots.real.max() < 0
    names = list(model.stocks)
    guess = {**dict(zip(names, 0.5 * (high + low), strict=True)), BASE: 830.0, TRUST: 0.22, "learning culture": 0.457}
    guess |= {"private knowledge": 8833.0, "mastered knowledge": 50.7, TALENT: 53780.0, FIRMS: 325.0}
    guess |= {"absorptive capacity": 0.629, "infrastructure": 0.5714}
    saddle, roots = steady_state(model, np.array([guess[name] for name in names]))
    assert low_state[TRUST] < saddle[TRUST] < high_state[TRUST]
    assert (roots.real > 0).sum() == 1


def test_3_the_open_cluster_passes_the_closed_one_from_the_same_start(model):
    open_levers = ("cooperative learning", "cooperative competition", "learning atmosphere", "mutual exchange")
    closed = run(model, {**dict.fromkeys(open_levers, 0.1), "talent flow": 0.1, "external learning links": 0.2})
    opened = run(model, {**dict.fromkeys(open_levers, 0.7), "talent flow": 0.6, "external learning links": 0.6})
    for name in (BASE, FIRMS, TALENT):
        assert opened[name][0] == closed[name][0]
        assert opened[name][-1] > 3 * closed[name][-1]
    assert opened[TALENT][5] < closed[TALENT][5]
    assert opened[TALENT][10] > closed[TALENT][10]


def test_4_mobility_is_an_inverted_u_in_long_run_knowledge(model):
    settled = {"initial trust": 0.8, "initial learning culture": 0.8}
    flows = np.array([0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 0.9, 1.0])
    knowledge = np.array([final(model, {**settled, "talent flow": flow}) for flow in flows])
    best = int(np.argmax(knowledge))
    assert flows[best] in (0.5, 0.6)
    assert (np.diff(knowledge[: best + 1]) > 0).all()
    assert (np.diff(knowledge[best:]) < 0).all()
    assert knowledge[best] > 1.04 * knowledge[0]
    assert knowledge[best] > 3 * knowledge[-1]
    mobility = run(model, {"talent flow": float(flows[best])})["mobility"][0]
    assert 0.06 < mobility < 0.30


def test_5_a_cluster_cut_off_rises_then_declines_while_its_members_come_to_know_the_same(model):
    young = run(model, {**all_levers(0.8), "talent flow": 0.4, **CUT_OFF}, save=1.0)
    peak = int(np.argmax(young[BASE]))
    assert 5 <= peak <= 15
    assert young[BASE][peak] > 4 * young[BASE][0]
    assert young[BASE][-1] < 0.75 * young[BASE][peak]
    assert (np.diff(young["overlap"][: peak + 1]) > 0).all()

    simulation = sd.Simulation(model, horizon=(START, START + 120), save=1.0)
    simulation.run_to(START + 60)
    simulation.change(CUT_OFF)
    simulation.run_to(START + 120)
    cut = simulation.run()
    assert cut["overlap"][70] > cut["overlap"][60] + 0.1
    assert cut[BASE][70] < 0.55 * cut[BASE][60]
    assert cut[BASE][-1] < 0.1 * cut[BASE][60]


def test_6_platform_and_cooperative_competition_complement_each_other_at_low_trust(model):
    def knowledge(platform, competition):
        levers = {"learning atmosphere": platform, "cooperative competition": competition, "initial trust": 0.25}
        return final(model, levers, years=60.0)

    neither, platform, cooperation, both = knowledge(0, 0), knowledge(1, 0), knowledge(0, 0.4), knowledge(1, 0.4)
    assert platform < 1.4 * neither
    assert both - neither > 3 * ((platform - neither) + (cooperation - neither))


@pytest.mark.parametrize(
    ("stock", "year", "left", "recovers"),
    [(TRUST, 5, 0.80, True), (TRUST, 5, 0.55, False), (TALENT, 0, 0.5, True), (TALENT, 0, 0.1, False)],
)
def test_7_small_shocks_heal_and_large_ones_cross_the_threshold(model, stock, year, left, recovers):
    simulation = sd.Simulation(model, horizon=(START, START + 200), save=50.0)
    simulation.run_to(START + year)
    simulation.change({stock: left * simulation.now(stock)})
    simulation.run_to(START + 200)
    end = simulation.run()[FIRMS][-1]
    assert (end > 400) == recovers
    assert end > 400 or end < 100


def test_8_faster_obsolescence_lowers_the_base_and_past_a_point_no_policy_sustains_it(model):
    settled = {"initial trust": 0.8, "initial learning culture": 0.8}

    def knowledge(rate, levers):
        return final(model, {**settled, **levers, "obsolescence rate": rate}, years=300.0)

    rates = (0.06, 0.18, 0.26, 0.30)
    usual = [knowledge(rate, {}) for rate in rates]
    full = [knowledge(rate, all_levers(1.0)) for rate in (0.06, 0.18, 0.40, 0.50)]
    assert (np.diff(usual) < 0).all()
    assert (np.diff(full) < 0).all()
    assert knowledge(0.36, {}) < 1.0
    assert knowledge(0.36, all_levers(1.0)) > 1000
    assert knowledge(0.80, all_levers(1.0)) < 1.0


def test_9_without_firms_no_knowledge_flows(model):
    empty = run(model, {"initial member firms": 0.0, "entry potential": 0.0})
    for flow in KNOWLEDGE_FLOWS:
        assert (empty[flow] == 0.0).all(), flow


def test_9_without_talent_nothing_is_created(model):
    unmanned = run(model, {"initial talent pool": 0.0, "hiring rate": 0.0, "graduates": 0.0})
    assert (unmanned["conversion"] == 0.0).all()
    assert (unmanned["own learning"] == 0.0).all()


def test_9_without_talent_nobody_moves(model):
    unmanned = run(model, {"initial talent pool": 0.0, "hiring rate": 0.0, "graduates": 0.0}, years=60.0)
    assert (unmanned["mobility"] > 0.0).all()  # firms are there to move between
    assert (unmanned["personnel flow"] == 0.0).all()
    assert (unmanned["share of personnel flow"] == 0.0).all()


def test_9_without_trust_nobody_shares_of_their_own_will(model):
    distrust = run(model, {"initial trust": 0.0, "mutual exchange": 0.0})
    assert (distrust["voluntary sharing"] == 0.0).all()


def test_9_with_all_levers_at_none_the_cluster_declines(model):
    left = run(model, all_levers(0.0))
    assert (np.diff(left[FIRMS]) < 0).all()
    assert left[FIRMS][-1] < 0.05 * left[FIRMS][0]
    assert (np.diff(left[BASE][10:]) < 0).all()
    assert left[BASE][-1] < 0.01 * left[BASE][0]


def bounded(rows, names):
    """Whether runs stay finite, non-negative and below what no cluster reaches."""
    ceilings = {BASE: 1e5, "private knowledge": 1e6, "mastered knowledge": 1e3, FIRMS: 1e4, TALENT: 1e7}
    assert np.isfinite(rows).all()
    assert rows.min() >= -1e-9
    for name, column in zip(names, rows.T, strict=True):
        assert column.max() < ceilings.get(name, 1.0 + 1e-9), name


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_bounded_over_200_years_at_the_ends_of_all_levers(model, value):
    end = run(model, all_levers(value), years=200.0)
    bounded(np.column_stack([end[name] for name in model.stocks]), model.stocks)


def test_bounded_over_200_years_at_1000_random_lever_settings(model):
    runner = sd.Runner(
        model,
        LEVERS,
        outputs=model.stocks,
        times=np.linspace(START, START + 200, 41),
        horizon=(START, START + 200),
        solver=sd.RungeKutta4(0.125),
    )
    for levers in np.random.default_rng(11).uniform(size=(1000, len(LEVERS))):
        bounded(runner(levers), model.stocks)


def test_knowledge_is_not_amplified_by_moving_it_and_mastery_stays_below_the_base(model):
    for changes in ({}, all_levers(1.0), {"initial trust": 0.2}):
        grown = run(model, changes, years=200.0)
        assert (grown["transfer"] <= grown["disclosure"] + 1e-9).all()
        assert (grown["mastered knowledge"] < grown[BASE]).all()
        assert (grown["mastered knowledge"] < grown["mastery capacity"])[20:].all()


def test_what_is_drawn_stops_at_the_mastery_limit_and_mastery_ends_below_the_base(model):
    initial = [f"initial {stock}" for stock in model.stocks]
    outputs = ("achievement", "learning by taking part", "disclosure", "members", "mastery limit", "mastered knowledge")
    years = np.linspace(0.0, 200.0, 201)
    runner = sd.Runner(
        model,
        (*LEVERS, *initial),
        outputs=(*outputs, BASE),
        times=START + years,
        horizon=(START, START + 200),
        solver=sd.RungeKutta4(0.125),
    )
    low = np.array([model.parameters[name].low for name in initial])
    high = np.array([model.parameters[name].high for name in initial])
    above_limit = above_base = 0
    for draw in np.random.default_rng(12).uniform(size=(200, len(LEVERS) + len(initial))):
        draw[len(LEVERS) :] = low + (high - low) * draw[len(LEVERS) :]
        achievement, taking_part, disclosure, members, limit, mastered, base = runner(draw).T
        own = disclosure / members  # what a sharer keeps of its own; the rest is what partners draw
        rounding = 1e-12 * own
        full = mastered >= limit
        assert (achievement[full] <= 0.0).all()
        assert ((taking_part - own)[full] <= rounding[full]).all()
        assert (achievement[~full] >= 0.0).all()
        assert ((taking_part - own)[~full] >= -rounding[~full]).all()
        assert (limit < base).all()
        # Above the base nothing is drawn, what a sharer keeps goes into the base too, and both go stale at one rate.
        assert (mastered <= base)[years >= 15].all()
        above_limit += int(full.any())
        above_base += int(mastered[0] > base[0])
    assert min(above_limit, above_base) >= 10


@pytest.mark.slow
def test_10_hsinchu_firms_talent_and_revenue_are_reproduced(model):
    import calibration as cal
    from calibration.study import Study, misfit_of

    study = Study()
    misfit = misfit_of(model, cal.read_dataset(study.region, last=study.last_year), study, study.free)
    fit = cal.minimise(misfit, starts=2, seed=7, workers=1, progress=False)
    assert {one.name for one in fit.estimates} == set(study.free)
    assert [one.name for one in fit.estimates if one.bound] == []
    least = {"firms": 0.95, "employees": 0.9, "revenue": 0.5}
    assert {one.indicator for one in fit.series} == set(least)
    for one in fit.series:
        assert one.r_squared > least[one.indicator], one.indicator
        assert one.theil.bias + one.theil.variation < 0.2, one.indicator


def test_the_four_channels_add_up(model):
    base = run(model)
    channels = ("personnel flow", "supply contact", "derivation contact", "informal contact")
    total = sum(base[channel] for channel in channels)
    shares = sum(base[f"share of {channel}"] for channel in channels)
    np.testing.assert_allclose(base["transfer intensity"], total, rtol=1e-12)
    trace = base["trace of intensity"]  # keeps the shares finite where nothing flows
    np.testing.assert_allclose(shares, total / (total + trace), rtol=1e-9)
    assert (shares > 0.99).all()
