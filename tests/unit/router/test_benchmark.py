from router.benchmark import mixed_day, run_route_benchmark


def test_benchmark_runs_the_real_core():
    """The benchmark reports the rates the CLI prints, from a day in which agents are never idle beside waiting work."""
    found = run_route_benchmark(agents=20, skills=5, waiting=50, measured=200)
    assert found["decisions_per_s"] > 0
    assert found["flatness"] > 0
    day = mixed_day(agents=20, skills=5, waiting=50, seed=1)
    waiting = [slot for slot in day.state.appeals.values() if slot.phase == "waiting"]
    assert len(waiting) >= 50
