import pytest

from pipeline.readers.kinds import InputSettings


@pytest.mark.parametrize("paths", [(), ("",), ("a", "")])
def test_an_empty_path_is_refused(paths: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="paths must name at least one file each"):
        InputSettings(kind="warc", paths=paths)
