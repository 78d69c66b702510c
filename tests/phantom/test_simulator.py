"""An image depends only on its address."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from thyroid.phantom.pathology import CLASSES, CROSSES
from thyroid.phantom.presets import PRESETS
from thyroid.phantom.simulator import Address, SimulatedScintigram, addresses, simulate

PRESET = PRESETS["thyroid7"]
SOME = [
    Address(findings=findings, number=number)
    for findings in (("normal",), ("graves", "cold_nodule"), ("multinodular_goitre",))
    for number in (0, 1, 3)
]


def one(address: Address, *, seed: int = 0, preset: str = "thyroid7") -> SimulatedScintigram:
    return next(simulate(PRESETS[preset], [address], seed=seed))


def test_an_image_does_not_depend_on_the_others() -> None:
    together = list(simulate(PRESET, SOME, seed=4))
    backwards = list(simulate(PRESET, SOME[::-1], seed=4))[::-1]
    for address, first, second in zip(SOME, together, backwards, strict=True):
        alone = one(address, seed=4)
        np.testing.assert_array_equal(first.anterior, alone.anterior)
        np.testing.assert_array_equal(second.anterior, alone.anterior)
        assert first.thyroid == alone.thyroid


def test_nor_on_how_many_there_are() -> None:
    few = addresses(PRESET, images_per_class=3, images_per_cross=1)
    many = addresses(PRESET, images_per_class=30, images_per_cross=12)
    assert len(few) == 7 * 3 + 6
    assert set(few) <= set(many)


def test_nor_on_the_posterior_view() -> None:
    with_posterior = next(simulate(PRESET, SOME[:1], seed=0, posterior=True))
    np.testing.assert_array_equal(with_posterior.anterior, one(SOME[0]).anterior)


def test_nor_on_the_number_of_threads() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        two = [scintigram.anterior for scintigram in simulate(PRESET, SOME, seed=0)]
        torch.set_num_threads(1)
        single = [scintigram.anterior for scintigram in simulate(PRESET, SOME, seed=0)]
    finally:
        torch.set_num_threads(before)
    for a, b in zip(two, single, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_same_in_another_process_with_other_thread_settings() -> None:
    program = (
        "import hashlib, sys\n"
        "from tests.phantom.test_simulator import PRESET, SOME, simulate\n"
        "bits = b''.join(s.anterior.tobytes() for s in simulate(PRESET, SOME, seed=0))\n"
        "print(hashlib.sha256(bits).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(digests) == 1


def test_the_simulator_needs_no_torch() -> None:
    program = (
        "import sys, thyroid.phantom.write_files\n"
        "print('torch' in sys.modules, 'ray' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("change", ["seed", "number", "findings", "preset"])
def test_every_part_of_the_address_matters(change: str) -> None:
    address = Address(findings=("normal",), number=0)
    reference = one(address)
    other = {
        "seed": lambda: one(address, seed=1),
        "number": lambda: one(Address(findings=("normal",), number=len(PRESET.centres))),
        "findings": lambda: one(Address(findings=("cold_nodule",), number=0)),
        "preset": lambda: one(address, preset="thyroid7-external"),
    }[change]()
    assert other.thyroid != reference.thyroid
    assert other.anterior.tobytes() != reference.anterior.tobytes()


def test_a_follow_up_shows_the_same_patient_again() -> None:
    first, again, next_patient = (
        one(Address(findings=("graves",), number=number)) for number in (8, 9, 10)
    )
    assert first.patient == again.patient != next_patient.patient
    assert first.thyroid == again.thyroid
    assert first.centre == again.centre
    assert first.anterior.tobytes() != again.anterior.tobytes()


def test_most_patients_are_imaged_once_and_none_has_two_labels() -> None:
    images = addresses(PRESET, images_per_class=60, images_per_cross=20)
    patients = {(address.findings, address.patient) for address in images}
    assert 0.85 < len(patients) / len(images) < 0.95
    for findings in PRESET.findings:
        numbers = [a.patient for a in images if a.findings == findings]
        assert sorted(set(numbers)) == list(range(max(numbers) + 1))


def test_centres_see_the_same_mix_of_diseases() -> None:
    images = addresses(PRESET, images_per_class=60, images_per_cross=20)
    per_group = {}
    for address in images:
        name = PRESET.centres[address.patient % len(PRESET.centres)].name
        group = per_group.setdefault(address.findings, dict.fromkeys("ABCDEF", 0))
        group[name] += 1
    singles = [tuple(per_group[(name,)].values()) for name in CLASSES]
    assert len(set(singles)) == 1
    assert min(singles[0]) >= 9
    assert len({tuple(per_group[cross].values()) for cross in CROSSES}) == 1


def test_presets_share_diseases_but_no_centre() -> None:
    """Three groups of centres train, decide on a design, and test."""
    assert {preset.classes for preset in PRESETS.values()} == {CLASSES}
    assert (len(CLASSES), len(CROSSES)) == (7, 6)
    centres = [centre for preset in PRESETS.values() for centre in preset.centres]
    assert len({centre.name for centre in centres}) == len(centres)
    assert len({centre.institution for centre in centres}) == len(centres)
    presets = [PRESETS[f"thyroid7{which}"] for which in ("", "-development", "-external")]
    assert all(preset.crosses == CROSSES for preset in presets)
    centres = [centre for preset in presets for centre in preset.centres]
    cameras = {(c.pixel_mm, c.fwhm_mm, c.counts, c.gland_from_top) for c in centres}
    assert len(cameras) == len(centres)


def test_no_patient_of_the_development_centres_is_one_of_the_test() -> None:
    address = Address(findings=("normal",), number=0)
    found = [
        one(address, preset=name, seed=2) for name in ("thyroid7-development", "thyroid7-external")
    ]
    assert found[0].patient != found[1].patient
    assert found[0].thyroid != found[1].thyroid


def test_centres_are_like_the_published_ones() -> None:
    centres = [centre for preset in PRESETS.values() for centre in preset.centres]
    assert all(0.75 <= centre.pixel_mm <= 3.3 for centre in centres)
    assert all(141 <= centre.field_mm <= 422 for centre in centres)
    assert all(5 <= centre.fwhm_mm <= 11 for centre in centres)
    assert all(100_000 <= centre.counts <= 500_000 for centre in centres)
    assert sorted({centre.matrix for centre in centres}) == [128, 256]
    assert max(c.field_mm for c in centres) > 300 > 200 > min(c.field_mm for c in centres)


def test_matrices_are_counts_at_the_centres_own_size() -> None:
    for scintigram in simulate(PRESET, SOME, seed=2, posterior=True):
        for view in (scintigram.anterior, scintigram.posterior):
            assert view is not None
            assert view.dtype == np.uint16
            assert view.shape == (scintigram.centre.matrix,) * 2
        assert 50_000 < scintigram.anterior.sum(dtype=np.int64) < 700_000
        row, column = scintigram.isthmus
        assert 0 < row < scintigram.centre.matrix
        assert 0 < column < scintigram.centre.matrix
