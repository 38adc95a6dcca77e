from __future__ import annotations

from pathlib import Path

from sagemaker_object_detection.platform.processor import cpu_flags


def test_flags_of_the_first_processor(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(
        "processor\t: 0\nflags\t\t: fpu avx512_vnni avx512_bf16\nvmx flags\t: vnmi\n\n"
        "processor\t: 1\nflags\t\t: fpu\n"
    )
    assert cpu_flags(path) == {"fpu", "avx512_vnni", "avx512_bf16"}


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    assert cpu_flags(tmp_path / "nowhere") == frozenset()
    (tmp_path / "cpuinfo").write_text("processor : 0\nFeatures : fp asimd\n")
    assert cpu_flags(tmp_path / "cpuinfo") == frozenset()
