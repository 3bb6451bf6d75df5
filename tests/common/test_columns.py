"""Cells and columns of tables."""

import pytest

from mldg_jax.common import columns
from mldg_jax.common.errors import UserError


def test_cells_of_commas_have_quotes_and_those_of_tabs_have_none():
    commas = ['a , "b, c","d ""e"""', "1,2,3"]
    cells = columns.split_cells(enumerate(commas, 1), ",", name="a.csv")
    assert cells == [["a", "b, c", 'd "e"'], ["1", "2", "3"]]
    tabs = ['"a\tb"\tc', "\td \t"]
    assert columns.split_cells(enumerate(tabs, 1), "\t", name="a.tsv") == [
        ['"a', 'b"', "c"], ["", "d", ""]
    ]  # fmt: skip


@pytest.mark.parametrize("line", ['a,"b', 'a,"b"c', f"a,{'x' * 200_000}"])
def test_a_quote_that_does_not_end_is_refused(line):
    with pytest.raises(UserError, match=r"a\.csv, line 4: "):
        columns.split_cells([(1, "a,b"), (4, line)], ",", name="a.csv")
