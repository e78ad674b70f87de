"""One section of the page of results is made anew, and the rest is left."""

from tools.results.autoscaling import with_section

PAGE = "# Results\n\n## First\n\nold\n\n## Second\n\nkept\n"


def test_a_section_takes_the_place_of_the_one_of_its_title() -> None:
    assert with_section(PAGE, "## First\n\nnew") == PAGE.replace("old", "new")
    assert with_section(PAGE, "## Second\n\nnew") == PAGE.replace("kept", "new")


def test_a_new_section_goes_to_the_end() -> None:
    assert with_section(PAGE, "## Third\n\nnew") == f"{PAGE}\n## Third\n\nnew\n"
