"""Files per second of `import_folder`, one process, 128 x 128: DICOM with re-binning, and PNG."""

from itertools import count

import numpy as np
import pytest
from PIL import Image

from tests.data.make_dicom import detectors, save_nm
from thyroid.data.importer import import_folder

FILES = 300


@pytest.mark.parametrize(("kind", "floor"), [("dicom", 60), ("png", 300)])
def test_import_speed(benchmark, tmp_path, kind, floor):
    rng = np.random.default_rng(0)
    for number in range(FILES):
        label = ("normal", "graves")[number % 2]
        frames = rng.poisson(18, (2, 128, 128)).astype(np.uint16)  # 300,000 counts each
        path = tmp_path / "source" / label / f"{number}"
        if kind == "dicom":
            save_nm(
                path,
                frames,
                PixelSpacing=[2.16, 2.16],
                PatientID=str(number),
                DetectorVector=[1, 2],
                DetectorInformationSequence=detectors("anterior", "posterior"),
            )
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((frames[0] * 6).clip(max=255).astype(np.uint8)).save(f"{path}.png")
    run = count()
    summary = benchmark.pedantic(
        lambda: import_folder(tmp_path / "source", tmp_path / f"set{next(run)}", processes=1),
        rounds=3,
    )
    assert summary.imported == FILES
    files_per_second = FILES / benchmark.stats.stats.min
    benchmark.extra_info["files_per_second"] = round(files_per_second)
    assert files_per_second > floor
