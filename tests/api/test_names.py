"""Names fit where Kubernetes puts them."""

import re

from hypothesis import given
from hypothesis import strategies as st

from kneescale.api.names import MAX_MODEL_NAME, partition_name, profile_job_name, profile_name

MODEL_NAMES = st.from_regex(rf"[a-z]([-a-z0-9]{{0,{MAX_MODEL_NAME - 2}}}[a-z0-9])?", fullmatch=True)
LABEL = re.compile("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@given(MODEL_NAMES, st.text(), st.text())
def test_all_names_are_labels(model: str, uri: str, product: str) -> None:
    for name in (
        partition_name(model, uri, product),
        profile_job_name(model, uri, product),
        profile_name(uri, "TorchScript", product),
    ):
        assert LABEL.fullmatch(name), name


def test_a_name_says_what_it_is_of() -> None:
    assert partition_name("lite0", "a") == "lite0-ca978112"
    assert profile_job_name("lite0", "a") == "lite0-profile-ca978112"
    assert profile_name("oci://example.org/models/lite0:1", "TorchScript", "Tesla V100").startswith(
        "lite0-1-tesla-v100-"
    )


def test_whatever_is_fixed_at_start_up_changes_the_name() -> None:
    assert len({partition_name("m", *parts) for parts in [(1, 23), (12, 3), ("1", "2", "3"), (1, 24)]}) == 4
