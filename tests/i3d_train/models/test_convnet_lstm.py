"""Tests of i3d_train.models.convnet_lstm."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from i3d_train.models.convnet_lstm import BatchNormLSTM, StepNorm
from preprocess.errors import InvalidInput
from tests.i3d_train.models.small_networks import clips, on_meta, small


def test_answer_is_that_of_the_last_frame():
    network, x = small("convnet_lstm", "rgb"), clips("convnet_lstm", "rgb")
    with torch.inference_mode():
        assert torch.equal(network(x), network(x, every_step=True)[..., -1])


def test_a_frame_reaches_its_own_and_later_answers_only():
    network, x = small("convnet_lstm", "rgb"), clips("convnet_lstm", "rgb")
    with torch.inference_mode():
        before = network(x, every_step=True)
        x[:, :, 1] = 1.0
        changed = (network(x, every_step=True) != before).any(dim=1)
    assert changed.tolist() == [[False, True, True]] * 2


def test_paper_trains_on_the_answers_of_all_frames():
    assert on_meta("convnet_lstm", "rgb").loss_at_every_step


def test_hidden_units_and_steps_of_their_own_are_the_papers():
    lstm = on_meta("convnet_lstm", "rgb").get_submodule("lstm")
    assert len(lstm.input_norm.norms) == len(lstm.recurrent_norm.norms) == len(lstm.cell_norm.norms) == 25
    assert lstm.recurrent.weight.shape == (4 * 512, 512)
    assert lstm.input.weight.shape == (4 * 512, 1024)


def test_without_normalisation_it_is_a_plain_lstm():
    torch.manual_seed(0)
    lstm = BatchNormLSTM(6, 4, steps=3).eval()
    for norm in (lstm.input_norm, lstm.recurrent_norm, lstm.cell_norm):
        # running averages of mean 0 and variance 1 - eps leave values as they are
        torch.nn.init.ones_(norm.scale)
        for one in norm.norms:
            one.running_var.fill_(1 - 1e-3)
    plain = torch.nn.LSTM(6, 4, batch_first=True)
    # PyTorch's rows are input, forget, candidate and output
    order = torch.cat([torch.arange(4) + 4 * gate for gate in (1, 0, 3, 2)])
    with torch.no_grad():
        plain.weight_ih_l0.copy_(lstm.input.weight[order])
        plain.weight_hh_l0.copy_(lstm.recurrent.weight[order])
        plain.bias_ih_l0.copy_(lstm.bias[order])
        plain.bias_hh_l0.zero_()
        x_BFS = torch.randn(2, 6, 5)
        torch.testing.assert_close(lstm(x_BFS), plain(x_BFS.transpose(1, 2))[0].transpose(1, 2))


def test_at_first_the_forget_gates_are_open_and_the_state_is_turned():
    lstm = BatchNormLSTM(6, 4, steps=3)
    # by gate: forget, input, output, candidate
    assert lstm.bias.unflatten(0, (4, 4)).tolist() == [[1] * 4, [0] * 4, [0] * 4, [0] * 4]
    turned = lstm.recurrent.weight.T @ lstm.recurrent.weight
    torch.testing.assert_close(turned, torch.eye(4), atol=1e-5, rtol=0)


def test_each_step_is_normalised_over_the_batch():
    norm = StepNorm(3, steps=2, offset=True)
    x_BF = torch.randn(64, 3) * 5 + 7
    expected = F.batch_norm(x_BF, None, None, training=True, eps=1e-3) * 0.1
    torch.testing.assert_close(norm(x_BF, 0), expected)
    torch.nn.init.constant_(norm.offset, 3)
    torch.testing.assert_close(norm(x_BF, 0), expected + 3)


def test_steps_have_statistics_of_their_own_and_later_ones_use_the_last():
    norm = StepNorm(1, steps=2).eval()
    norm.norms[0].running_mean.fill_(10.0)
    norm.norms[1].running_mean.fill_(20.0)
    with torch.inference_mode():
        first, second, later = (float(norm(torch.tensor([[20.0]]), step)) for step in (0, 1, 7))
    assert first == pytest.approx(1.0, rel=1e-3)
    assert second == pytest.approx(0, abs=1e-6)
    assert later == second


def test_steps_after_a_short_training_window_use_its_last_statistics():
    lstm = BatchNormLSTM(3, 4, steps=5)
    lstm(torch.randn(8, 3, 2) + 5)
    for norm in (lstm.input_norm, lstm.recurrent_norm, lstm.cell_norm):
        first, last, *later = norm.norms
        assert not torch.equal(first.running_var, last.running_var)
        for one in later:
            assert torch.equal(one.running_mean, last.running_mean)
            assert torch.equal(one.running_var, last.running_var)


def test_fixed_statistics_stay_where_the_window_is_short():
    lstm = BatchNormLSTM(3, 4, steps=5).eval()
    lstm(torch.randn(8, 3, 2) + 5)
    assert all(not one.running_mean.any() for one in lstm.input_norm.norms)


def test_training_on_a_single_clip_fails():
    network = small("convnet_lstm", "rgb").train()
    with pytest.raises(InvalidInput, match=r"use at least 2 clips a batch"):
        network(torch.zeros(1, 3, 2, 64, 64))


def test_no_frame_fails():
    with pytest.raises(InvalidInput, match=r"ConvNetLSTM for rgb needs T >= 1 frames, got T = 0"):
        small("convnet_lstm", "rgb")(torch.zeros(1, 3, 0, 32, 32))
