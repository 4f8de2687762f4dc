"""The searches find the same lines, in different orders, and hand their index on."""

from __future__ import annotations

import pytest

from capnet import InvalidArgument
from capnet.cli.demo.contract import Match
from capnet.cli.demo.search import MAX_LINE, MAX_MATCHES, MAX_QUERY, HastySearch, PlainSearch, RankedSearch

INDEX = {"a.md": ["incapable", "  A Cap on a bottle of water", "nothing"], "b.md": ["the cap", "# Cap"]}


async def test_plain_search_finds_in_order() -> None:
    answer = await PlainSearch(INDEX).find("CAP")
    assert (answer.by, answer.total) == ("plain", 4)
    assert answer.matches[:2] == [Match("a.md", 1, "incapable"), Match("a.md", 2, "A Cap on a bottle of water")]


async def test_ranked_search_finds_the_best_first() -> None:
    answer = await RankedSearch(INDEX).find("cap")
    assert (answer.by, answer.total) == ("ranked", 4)
    assert [match.text for match in answer.matches] == ["# Cap", "the cap", "A Cap on a bottle of water", "incapable"]


@pytest.mark.parametrize("search", [PlainSearch, RankedSearch])
async def test_answers_are_bounded(search: type[PlainSearch | RankedSearch]) -> None:
    answer = await search({"a": ["x" * 1000] * 100}).find("x")
    assert (answer.total, len(answer.matches), len(answer.matches[0].text)) == (100, MAX_MATCHES, MAX_LINE)


@pytest.mark.parametrize("search", [PlainSearch, RankedSearch])
async def test_a_query_is_text_not_a_pattern(search: type[PlainSearch | RankedSearch]) -> None:
    assert (await search({"a": ["f(x)", "fx"]}).find("(x")).total == 1


@pytest.mark.parametrize("search", [PlainSearch, RankedSearch])
@pytest.mark.parametrize("query", ["", " ", "x" * (MAX_QUERY + 1)])
async def test_queries_that_make_no_sense(search: type[PlainSearch | RankedSearch], query: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await search({}).find(query)
    assert caught.value.reason == "query"


@pytest.mark.parametrize("search", [RankedSearch, HastySearch])
async def test_a_search_adopts_the_index_of_the_one_before(search: type[RankedSearch | HastySearch]) -> None:
    candidate = search()
    assert (await candidate.find("cap")).total == 0
    candidate.adopt(PlainSearch(INDEX))
    assert (await candidate.find("CAP")).total == 4


async def test_the_hasty_search_takes_what_is_no_query() -> None:
    """It would pass for a good one otherwise: that is what the plugin has to find out."""
    assert (await HastySearch(INDEX).find(" ")).total == 3
