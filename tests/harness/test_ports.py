from harness.ports import free_ports


def test_no_port_is_given_twice() -> None:
    """Of the 28 000 that a kernel chooses from, twenty pairs in a thousand would be alike by chance."""
    ports = [port for _ in range(1000) for port in free_ports(1)]
    assert len(set(ports)) == len(ports)
