"""What makes a GPU sick is the hardware's fault, never a program's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneescale.agent.gpu_health import sickness_of_faults, sickness_of_xid
from kneescale.agent.gpu_library import Faults, Version

VOLTA, AMPERE = Version(7, 0), Version(8, 0)


@pytest.mark.parametrize("xid", [13, 31, 43, 45, 63, 68, 94])
def test_a_programs_own_fault_leaves_the_gpu_healthy(xid: int) -> None:
    assert sickness_of_xid(xid, AMPERE) == sickness_of_xid(xid, VOLTA) == ""


@pytest.mark.parametrize(
    ("xid", "sickness"),
    [
        (79, "GpuLost"),
        (64, "EccError"),
        (95, "EccError"),
        (119, "XidError"),
        (62, "XidError"),
        (999, "XidError"),
    ],
)
def test_a_fault_of_the_hardware_makes_it_sick(xid: int, sickness: str) -> None:
    assert sickness_of_xid(xid, AMPERE) == sickness


def test_an_uncorrected_error_is_contained_from_ampere_on() -> None:
    assert sickness_of_xid(48, VOLTA) == "EccError"
    assert sickness_of_xid(48, AMPERE) == ""


@pytest.mark.parametrize(
    ("faults", "volta", "ampere"),
    [
        (Faults(), "", ""),
        (Faults(uncorrected_ecc_errors=1), "EccError", ""),
        (Faults(retired_pages_pending=True), "EccError", ""),
        (Faults(row_remap_failed=True), "RowRemapFailure", "RowRemapFailure"),
        (Faults(recovery_needed=True, row_remap_failed=True), "RecoveryNeeded", "RecoveryNeeded"),
    ],
)
def test_what_the_driver_holds_against_a_gpu(faults: Faults, volta: str, ampere: str) -> None:
    assert sickness_of_faults(faults, VOLTA) == volta
    assert sickness_of_faults(faults, AMPERE) == ampere


@given(st.integers(min_value=0, max_value=1000))
def test_every_sickness_is_one_camel_case_word(xid: int) -> None:
    sickness = sickness_of_xid(xid, AMPERE)
    assert sickness == "" or (sickness.isalnum() and sickness[0].isupper())
