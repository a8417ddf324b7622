"""The address in a URL, and the error for a wrong one."""

import pytest

from limpet_extproc.memory.redis.address import Address, AddressError, parse

GOOD = {
    "redis://cache": Address("single", False, (("cache", 6379),)),
    "redis://cache:6380/2": Address("single", False, (("cache", 6380),), database=2),
    "rediss://cache.example/": Address("single", True, (("cache.example", 6379),)),
    "REDIS://cache": Address("single", False, (("cache", 6379),)),
    "redis://[2001:db8::1]": Address("single", False, (("2001:db8::1", 6379),)),
    "redis://[2001:db8::1]:7000/1": Address("single", False, (("2001:db8::1", 7000),), database=1),
    "redis+sentinel://a,b:7000,c/mymaster": Address(
        "sentinel", False, (("a", 26379), ("b", 7000), ("c", 26379)), "mymaster"
    ),
    "rediss+sentinel://a/my%20master/3": Address("sentinel", True, (("a", 26379),), "my master", 3),
    "redis+cluster://a,b": Address("cluster", False, (("a", 6379), ("b", 6379))),
    "rediss+cluster://a:1/0": Address("cluster", True, (("a", 1),)),
}

BAD = {
    "": "starts with none of redis://, rediss://",
    "cache:6379": "starts with none of",
    "http://cache": "starts with none of",
    "redis:/cache": "starts with none of",
    "redis://": "names no host",
    "redis://:6379": "names no host",
    "redis://cache:six": "the port 'six' where a number from 1 to 65535 should be",
    "redis://cache:0": "the port '0'",
    "redis://cache:65536": "the port '65536'",
    "redis://cache:6379999999999": "the port",
    "redis://cache:٣": "the port",
    "redis://2001:db8::1": "in brackets",
    "redis://[2001:db8::1": "an IPv6 address is written",
    "redis://[2001:db8::1]x": "an IPv6 address is written",
    "redis://cache/one": "only the number of a database",
    "redis://cache/0/1": "only the number of a database",
    "redis://a,b": "several hosts",
    "redis://me:secret@cache": "--redis-credentials",
    "redis://cache?ssl=1": "after '?'",
    "redis://cache/0#x": "after '?'",
    "redis+sentinel://a": "which service the sentinels watch",
    "redis+sentinel://a/": "which service the sentinels watch",
    "redis+sentinel://a,,b/m": "a comma too many",
    "redis+sentinel://a/m/x": "only the number of a database",
    "redis+cluster://a/1": "a cluster has only database 0",
}


@pytest.mark.parametrize("url", GOOD)
def test_a_good_url_is_taken_apart(url: str) -> None:
    assert parse(url) == GOOD[url]


@pytest.mark.parametrize("url", BAD)
def test_a_wrong_url_is_refused_with_words(url: str) -> None:
    with pytest.raises(AddressError) as refused:
        parse(url)
    assert BAD[url] in str(refused.value)
    assert str(refused.value).startswith("the Redis URL ")


def test_a_password_in_a_url_is_not_repeated() -> None:
    for url in (
        "redis://me:hunter2@cache",
        "reddis://me:hunter2@cache",
        "redis://me:hunter2/1@cache",
        "redis+sentinel://:hunter2@a/m",
    ):
        with pytest.raises(AddressError) as refused:
            parse(url)
        assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("url", GOOD)
def test_what_the_log_says_means_the_same(url: str) -> None:
    address = parse(url)
    assert parse(str(address)) == address
