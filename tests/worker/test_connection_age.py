from kneescale.core.units import NS_PER_S
from kneescale_worker.connection_age import ConnectionAges


class _Connection:
    pass


def test_connections_end_at_their_age_each_at_another() -> None:
    ages, connections = ConnectionAges(), [_Connection() for _ in range(50)]
    for second in range(9):
        assert not any(ages.is_over(each, second * NS_PER_S) for each in connections)
    over = sum(ages.is_over(each, 10 * NS_PER_S) for each in connections)
    assert 0 < over < len(connections)
    assert all(ages.is_over(each, 11 * NS_PER_S) for each in connections)


def test_an_age_begins_with_the_first_request() -> None:
    ages, first, later = ConnectionAges(), _Connection(), _Connection()
    ages.is_over(first, 0)
    ages.is_over(later, 8 * NS_PER_S)
    assert ages.is_over(first, 12 * NS_PER_S)
    assert not ages.is_over(later, 12 * NS_PER_S)
