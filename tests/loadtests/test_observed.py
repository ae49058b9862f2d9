"""What a scrape adds up to."""

from loadtests.observed import total


def test_a_total_is_of_the_series_with_these_labels() -> None:
    series = {'x{a="1",b="1"}': 1.0, 'x{a="1",b="2"}': 2.0, 'x{a="2",b="1"}': 4.0, 'xy{a="1"}': 8.0}
    assert total(series, "x") == 7
    assert total(series, "x", a=("1",)) == 3
    assert total(series, "x", a=("1",), b=("2",)) == 2
    assert total(series, "x", a=("1", "2"), b=("1",)) == 5
    assert total(series, "z") == 0


def test_a_label_whose_name_ends_alike_is_another() -> None:
    assert total({'x{ba="1"}': 1.0}, "x", a=("1",)) == 0
