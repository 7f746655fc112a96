"""The sample data as a file for `carnet evaluate`."""

from pathlib import Path

from click.testing import CliRunner

import app
from recommend.files import read


def test_the_sample_data_can_be_evaluated(tmp_path: Path) -> None:
    target = tmp_path / "journey.parquet"
    done = CliRunner().invoke(app.main, ["demo-data", str(target), "--households", "3"])
    assert done.exit_code == 0, done.output
    lines = read(target)
    assert len(lines.members) == 3
    assert all(name.startswith("CJ") for name in lines.members)
    assert lines.time_note == "times and dates"
    assert len(list(lines.baskets())) > 3
    assert f"{len(lines.member):,} lines" in done.stdout


def test_a_file_that_has_no_place_is_refused_in_one_sentence(tmp_path: Path) -> None:
    target = tmp_path / "nowhere" / "journey.parquet"
    done = CliRunner().invoke(app.main, ["demo-data", str(target)])
    assert done.exit_code == 2
    assert "there is no such directory" in done.output
