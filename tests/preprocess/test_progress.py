from preprocess import progress


def test_log_gets_a_line_now_and_then(capsys, monkeypatch):
    clock = iter([0.0, 10.0, 31.0, 40.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    shown = progress.ShowProgress("clips")
    for _ in range(3):
        shown.step(3)
    assert capsys.readouterr().out == "2 of 3 clips\n"


def test_note_is_one_escaped_line(capsys):
    progress.ShowProgress("clips").step(2, note="x" * 200 + "\x1b[2J [bold]")
    assert capsys.readouterr().out == "x" * 200 + "\\x1b[2J [bold]\n"
