"""A local Ray cluster of two workers, which import what tests send them from here."""

import pytest
from conftest import ROOT, require_module


@pytest.fixture(scope="module")
def cluster():
    """Ray, connected."""
    require_module("ray", "cluster")
    import ray

    here = ROOT / "tests" / "support"
    with pytest.MonkeyPatch.context() as patch:
        # Workers inherit these. Their low priority, Ray's default, would let them wait for whatever else runs.
        patch.setenv("PYTHONPATH", f"{ROOT / 'src'}:{here.parent}:{here}")
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
        yield ray
        ray.shutdown()
