"""Where records go: to the partitions that every other producer would choose."""

from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from streams.outbox import partition_of


@given(st.binary(max_size=40), st.integers(1, 200))
def test_a_key_s_partition_is_that_of_kafka_s_default_partitioner(key: bytes, count: int) -> None:
    partitions = list(range(count))
    for _ in range(2):
        assert partition_of(key, partitions, []) == DefaultPartitioner()(key, partitions, [])


@given(st.sets(st.integers(0, 9), min_size=1))
def test_a_record_without_a_key_goes_to_a_partition_that_has_a_leader(available: set[int]) -> None:
    assert partition_of(None, range(10), sorted(available)) in available
