from dataclasses import replace

from preprocess.report.findings import SHOWN, Findings
from tests.preprocess.report.test_motion import measures


def test_each_kind_has_pictures():
    found = Findings(
        exact=[[1, 2, 3, 4]],
        near=[[5, 6]],
        hashed=6,
        still=[replace(measures([0.0]), clip=7)],
        scores=[(8, 9.5), (9, 3.6), (10, 3.4)],
    )
    assert found.rows() == [8, 9, 1, 2, 3, 5, 6, 7]
    many = replace(found, exact=[[row] for row in range(100)], scores=[(200 + row, 9.0) for row in range(100)])
    assert many.rows() == [*range(200, 200 + SHOWN), *range(SHOWN), 5, 6, 7]
