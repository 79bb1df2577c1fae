from contextlib import closing

from preprocess.serve.index.samples import MOST, Sample, read_samples, take_sample
from preprocess.serve.index.schema import open_for_writing


def test_samples_show_what_changed_and_stay_few(tmp_path):
    with closing(open_for_writing(tmp_path / "index.sqlite")) as db:
        for number in range(3 * MOST):
            take_sample(db, 77, Sample(at=float(number), outcomes={"done": number}))
        found = read_samples(db, 77)
        assert MOST // 2 <= len(found) <= MOST
        assert (found[0].at, found[-1].at) == (0.0, 3 * MOST - 1.0)
        for at in (1e6, 2e6, 3e6, 4e6):
            take_sample(db, 77, Sample(at=at, outcomes={"done": 5}))
        assert [one.at for one in read_samples(db, 77)[-2:]] == [1e6, 4e6]
