"""The files for a cluster: Ray's own schema takes them, and the application its options."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from examples.ray import cost
from sala_compile.runtime.serving.ray.app_options import AppOptions

FOLDER = Path(__file__).parents[2] / "examples" / "ray"


def _service() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="the extra [ray] is not installed")
    return yaml.safe_load((FOLDER / "rayservice.yaml").read_text())["spec"]


def test_rays_schema_takes_the_service():
    schema = pytest.importorskip("ray.serve.schema", reason="the extra [ray] is not installed")
    import ray
    import yaml

    service = _service()
    config = schema.ServeDeploySchema.model_validate(yaml.safe_load(service["serveConfigV2"]))
    (application,) = config.applications
    assert application.import_path == "sala_compile.runtime.serving.ray:app"
    assert service["rayClusterConfig"]["rayVersion"] == ray.__version__
    with pytest.raises(ValueError, match="import_path"):
        schema.ServeDeploySchema.model_validate({"applications": [{"import_path": "none"}]})


def test_the_application_takes_the_options_and_fits_its_nodes():
    import yaml

    service = _service()
    (application,) = yaml.safe_load(service["serveConfigV2"])["applications"]
    options = AppOptions.model_validate(application["args"])
    (group,) = service["rayClusterConfig"]["workerGroupSpecs"]
    pod = group["template"]["spec"]
    (container,) = pod["containers"]
    assert options.cpus + options.ingress_cpus <= float(container["resources"]["limits"]["cpu"])
    assert pod["terminationGracePeriodSeconds"] > options.grace
    assert (group["minReplicas"], group["maxReplicas"]) == (2, options.max_replicas)
    with pytest.raises(ValueError, match="give max_replicas"):
        AppOptions(artifact="a", min_replicas=2)


def test_the_plan_follows_the_records_and_the_prices():
    rates = cost.measured(cost.LENGTHS["64K"], 1)
    assert rates.read == pytest.approx(65536 / 2219.3, rel=0.01)  # of the record's own table
    assert 1 / rates.answer == pytest.approx(0.1839, rel=0.01)
    long = cost.measured(cost.LENGTHS["1M"], 8)
    assert long.read < rates.read
    assert long.answer > rates.answer
    lines = {}
    for price in ("1", "2"):
        result = CliRunner().invoke(cost.main, ["--price", price, "--hit-rate", "0.5"])
        assert result.exit_code == 0, result.output
        lines[price] = [
            float(text.split(";")[0].split()[-1]) for text in result.output.splitlines()
        ]
    assert lines["2"] == pytest.approx([2 * each for each in lines["1"]], rel=0.01)


def test_the_plan_on_paper_is_what_the_command_prints():
    text = (FOLDER / "README.md").read_text()
    result = CliRunner().invoke(cost.main, ["--price", "0.10", "--hit-rate", "0.5"])
    assert result.output.strip() in text
