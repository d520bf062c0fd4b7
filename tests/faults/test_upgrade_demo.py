"""The upgrade demo: every check holds, from version 1 to 3 under load and through an unsafe release."""

from __future__ import annotations

import json

import pytest

from demos.orderbook.upgrade import main

# Processes enough for the whole machine: not beside another cluster.
pytestmark = pytest.mark.xdist_group("cluster")


@pytest.mark.soak
def test_a_cluster_goes_from_version_1_to_3_under_load(capsys: pytest.CaptureFixture[str]) -> None:
    """Old and new clients trade all the time; no command fails, and each version has one index on all nodes."""
    code = main(["--json", "--rate", "300", "--seed", "5"])
    document = json.loads(capsys.readouterr().out)
    assert document["held"], document["reason"]
    assert code == 0
    assert [check["name"] for check in document["checks"]] == [
        "no bump too early",
        "found before release",
        "found in the shadow",
        "found when forced",
        "no failed command",
        "three equal roots",
        "one flip index each",
        "replays through all three",
    ]
    assert document["failed"] == 0
    assert document["commands"] == document["answered"] > 1000
    assert document["flips"]["2"] < document["flips"]["3"] < document["unsafe_from_index"]


def test_wrong_usage_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--rate", "0"])
    assert ended.value.code == 2
    assert "--rate must be 1 to 100,000" in capsys.readouterr().err
