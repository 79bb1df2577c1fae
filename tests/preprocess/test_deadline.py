import signal
import threading
import time
from contextlib import suppress

import pytest

from preprocess.deadline import DeadlinePassed, deadline


def test_alarm_comes_again_when_the_first_is_swallowed():
    def work():
        with suppress(DeadlinePassed):  # as a destructor does that happens to run
            time.sleep(20)
        time.sleep(20)

    with pytest.raises(DeadlinePassed, match=r"^not done after 0\.01 s$"), deadline(0.01):
        work()


def test_alarm_as_the_block_ends_leaves_none_behind(monkeypatch):
    before, real, ends = signal.getsignal(signal.SIGALRM), signal.setitimer, []

    def setitimer(which, seconds, interval=0.0):
        if seconds == 0:
            ends.append(which)
            if len(ends) == 1:
                signal.raise_signal(signal.SIGALRM)
        return real(which, seconds, interval)

    monkeypatch.setattr(signal, "setitimer", setitimer)
    try:
        with pytest.raises(DeadlinePassed), deadline(60.0):
            pass
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        assert signal.getsignal(signal.SIGALRM) is before
    finally:
        real(signal.ITIMER_REAL, 0)


def test_other_threads_have_no_limit():
    done = []

    def work():
        with deadline(0.01):
            time.sleep(0.1)
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done
